"""Checkpoints of the four families, at the small sizes of the parity models, become model folders."""

import copy
import functools
import json
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPSegForImageSegmentation

from napari_medvlsm.core.io import atomic
from napari_medvlsm.core.kept_base import load_segmenter
from napari_medvlsm.core.models import parity
from napari_medvlsm.core.models.architectures.clip_tokenizer import clip_tokenizer
from napari_medvlsm.core.models.architectures.cris import CRIS, CRISConfig
from napari_medvlsm.core.models.checkpoints import convert
from napari_medvlsm.core.models.checkpoints.convert import ImportOptions, import_model
from napari_medvlsm.core.models.checkpoints.detect import read_checkpoint
from napari_medvlsm.core.models.families import IMPORTABLE
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.card import WEIGHTS_FILE, ModelCard, read_card, write_card
from napari_medvlsm.core.models.store.fetched import sha256_of
from napari_medvlsm.core.models.store.naming import ModelExists, clean_name, target_dir
from napari_medvlsm.core.models.store.registry import find_model, user_models_folder

# What a trainer of upstream medvlsm puts before each name.
PREFIX = {"clipseg": "net.clipseg.", "cris": "net.", "biomedclipseg": "net.", "biomedclipseg-d": "net."}
# Whether the names tell the family.
TOLD = {"clipseg", "cris"}
TEXTS = ["small pink polyp", "a dark spot, located in the top left of the image"]


class DiceLoss:
    """Not importable where the checkpoint is read, in the field; here it must never be made either."""

    def __init__(self):
        self.weight = torch.ones(2)

    def __setstate__(self, state):
        raise AssertionError("made")


@pytest.fixture(scope="module", params=IMPORTABLE)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family, small_builders):
    return small_builders[family]()


@pytest.fixture
def options(family, small_model_like):
    like = small_model_like[family]
    return ImportOptions(family=None if family in TOLD else family, tokenizer=like, like=like)


@pytest.fixture(scope="module")
def clipseg(small_builders):
    return small_builders["clipseg"]()


@pytest.fixture(scope="module")
def cris(small_builders):
    return small_builders["cris"]()


@pytest.fixture(scope="module")
def biomedclipseg(small_builders):
    return small_builders["biomedclipseg"]()


@pytest.fixture
def like(small_model_like):
    """ImportOptions for the small sizes, by family."""
    return {family: ImportOptions(like=folder, tokenizer=folder) for family, folder in small_model_like.items()}


def state_of(model, prefix=""):
    return {prefix + name: value.clone() for name, value in model.upstream.state_dict().items()}


def lightning(model, prefix):
    """A checkpoint as upstream's training leaves it."""
    state = state_of(model, prefix)
    return {
        "epoch": 17,
        "global_step": 1200,
        "pytorch-lightning_version": "2.0.9",
        "state_dict": state | {"loss_fn.weight": torch.ones(1)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}],
        "hyper_parameters": {
            "optimizer": functools.partial(torch.optim.AdamW, lr=1e-3, weight_decay=1e-3),
            "scheduler": functools.partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=5),
            "loss_fn": DiceLoss(),
            "compile": os.path.join,
        },
    }


def assert_same(folder, model):
    again = load_model(folder)
    pixels = parity.formula_images(model.image_size)
    with torch.no_grad():
        ours, theirs = again(pixels, TEXTS), model(pixels, TEXTS)
    assert (again.image_size, again.mean, again.std) == (model.image_size, model.mean, model.std)
    assert (ours - theirs).abs().max() <= 1e-4 * theirs.std()


class TestEveryFamily:
    @pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
    def test_lightning_checkpoint_of_the_reference(self, tmp_path, family, model, options, legacy):
        path = tmp_path / "best.ckpt"
        torch.save(lightning(model, PREFIX[family]), path, _use_new_zipfile_serialization=not legacy)
        folder = import_model(path, "mine", options)
        assert folder == user_models_folder() / "mine" and find_model("mine").card == read_card(folder)
        card = read_card(folder)
        assert card.family == family and card.open_vocabulary and card.licence == "unknown"
        assert card.threshold == (0.35 if family == "cris" else 0.5)
        assert card.base.startswith("a Lightning checkpoint")
        assert card.source == {"file": "best.ckpt", "sha256": sha256_of(path)}
        assert_same(folder, model)
        load_segmenter("mine", device="cpu")
        assert sorted(p.name for p in folder.parent.iterdir()) == ["mine"]

    def test_plain_state_dict_and_safetensors(self, tmp_path, family, model, options):
        torch.save(state_of(model), tmp_path / "plain.pth")
        save_file(state_of(model), tmp_path / "plain.safetensors")
        for path in (tmp_path / "plain.pth", tmp_path / "plain.safetensors"):
            folder = import_model(path, path.suffix[1:], replace(options, licence="CC BY 4.0"), models=tmp_path / "m")
            assert read_card(folder).licence == "CC BY 4.0"
            assert_same(folder, model)

    def test_a_model_folder_imports_as_it_is(self, tmp_path, family, model):
        card = ModelCard("old", "Old", family, threshold=0.4, words=("polyp",), licence="MIT")
        model.save(tmp_path / "old")
        write_card(card, tmp_path / "old")
        folder = import_model(tmp_path / "old", "new")
        assert read_card(folder) == replace(card, name="new")
        assert_same(folder, model)

    def test_what_is_missing_unexpected_or_misshapen_is_named(self, tmp_path, family, model, options):
        state = state_of(model, PREFIX[family])
        first, *_, last = [name for name in state if "bias" in name]
        del state[first]
        state[last] = torch.zeros(7, 7)
        state[PREFIX[family] + "aux.weight"] = torch.zeros(1)
        torch.save({"state_dict": state}, tmp_path / "a.ckpt")
        first, last = (name.removeprefix(PREFIX[family]) for name in (first, last))
        words = (
            rf"a\.ckpt cannot be imported: .* 1 missing \({first}\); 1 unexpected \(aux\.weight\); 1 misshapen \({last}"
        )
        with pytest.raises(ValueError, match=words):
            import_model(tmp_path / "a.ckpt", options=options)
        assert not user_models_folder().exists()

    def test_another_family_is_refused(self, tmp_path, family, model, options):
        torch.save(state_of(model), tmp_path / "a.pt")
        other = "clipseg" if family != "clipseg" else "cris"
        with pytest.raises(ValueError, match=rf"holds weights of .*; they can become .*{family}.*, not {other}"):
            import_model(tmp_path / "a.pt", options=replace(options, family=other))

    def test_weights_of_another_size_are_refused(self, tmp_path, model, options):
        torch.save({name: torch.zeros(3, 7) for name in state_of(model)}, tmp_path / "a.pt")
        with pytest.raises(ValueError, match=r"misshapen \(.* instead of .*\.\.\.\)"):
            import_model(tmp_path / "a.pt", options=options)

    def test_full_disk_leaves_nothing(self, tmp_path, monkeypatch, model, options):
        torch.save(state_of(model), tmp_path / "a.pt")
        monkeypatch.setattr(atomic.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1_000_000))
        with pytest.raises(ValueError, match=r"MB are needed in .*, but only 1\.0 MB are free"):
            import_model(tmp_path / "a.pt", options=options)
        assert not user_models_folder().exists()

    def test_failure_while_writing_leaves_nothing(self, tmp_path, monkeypatch, model, options):
        def fail(self, folder):
            (folder / "config.json").write_text("{")
            raise OSError("no more space")

        torch.save(state_of(model), tmp_path / "a.pt")
        monkeypatch.setattr(type(model), "save", fail)
        with pytest.raises(ValueError, match=r"cannot be written: no more space"):
            import_model(tmp_path / "a.pt", options=options)
        assert not list(user_models_folder().iterdir())


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_transformers_folder(tmp_path, clipseg, weights):
    folder = tmp_path / "clipseg-rd64"
    clipseg.save(folder)
    if weights == "pytorch_model.bin":
        (folder / WEIGHTS_FILE).unlink()
        torch.save(state_of(clipseg) | {"clip.text_model.embeddings.position_ids": torch.arange(77)}, folder / weights)
    made = import_model(folder)
    assert made.name == "clipseg-rd64" and read_card(made).source["file"] == weights
    assert_same(made, clipseg)
    CLIPSegForImageSegmentation.from_pretrained(made, local_files_only=True)


def test_tokenizer_as_published_and_without_one(tmp_path):
    folder = tmp_path / "clipseg"
    model = parity.build("clipseg_small").eval()
    model.tokenizer = clip_tokenizer()
    expected = model.tokenize(TEXTS).tolist()
    model.save(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert load_model(import_model(folder, "without")).tokenize(TEXTS).tolist() == expected
    made = json.loads(clip_tokenizer().backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(made["vocab"]))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(m) for m in made["merges"])]) + "\n")
    assert load_model(import_model(folder, "with")).tokenize(TEXTS).tolist() == expected


def test_clipseg_folder_with_a_broken_configuration(tmp_path, clipseg):
    clipseg.save(tmp_path / "a")
    (tmp_path / "a" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is no valid JSON"):
        import_model(tmp_path / "a")


def test_public_cris_checkpoint(tmp_path, cris, like, monkeypatch):
    # As if the small sizes were the published ones.
    published = tuple(getattr(cris.config, field.name) for field in fields(CRISConfig))
    monkeypatch.setattr(CRISConfig.__init__, "__defaults__", published)
    options = replace(like["cris"], like=None)
    content = {"epoch": 50, "best_iou": 0.7, "prec": {}, "state_dict": state_of(cris, "module."), "optimizer": {}}
    torch.save(content, tmp_path / "best_model.pth")
    made = load_model(import_model(tmp_path / "best_model.pth", options=options))
    assert (made.config.word_length, made.config.context_length, made.config.attend_padding) == (17, 77, False)
    assert made.image_size == 416 and torch.equal(made.proj.txt.weight, cris.proj.txt.weight)
    # The release's own checkpoints read padding.
    torch.save({"state_dict": state_of(cris, "net.")}, tmp_path / "release.ckpt")
    made = load_model(import_model(tmp_path / "release.ckpt", options=options))
    assert (made.config.word_length, made.config.attend_padding) == (77, True)
    # As many positions as the checkpoint has.
    state = state_of(cris, "module.")
    state["module.backbone.positional_embedding"] = state["module.backbone.positional_embedding"][:17].clone()
    torch.save(state, tmp_path / "short.pth")
    made = load_model(import_model(tmp_path / "short.pth", options=options))
    assert (made.config.word_length, made.config.context_length) == (17, 17)
    assert made.tokenize(["polyp " * 30]).shape == (1, 17)


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "open_clip_pytorch_model.bin", "RN50.pt"])
def test_clip_rn50_becomes_cris_with_a_random_head(tmp_path, cris, like, name):
    state = {n.removeprefix("backbone."): v for n, v in state_of(cris).items() if n.startswith("backbone.")}
    state = {n: v for n, v in state.items() if ".connect." not in n} | {"input_resolution": torch.tensor(224)}
    save = save_file if name.endswith("safetensors") else torch.save
    save(state, tmp_path / name)
    options = like["cris"]
    folder = import_model(tmp_path / name, "cris", options)
    card = read_card(folder)
    assert card.family == "cris" and "finetune before use" in card.title and card.training["untrained"]
    made, again = load_model(folder), load_model(import_model(tmp_path / name, "again", options))
    for key, value in made.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])  # random, but by a seed
        if key.startswith("backbone.") and ".connect." not in key:
            assert torch.equal(value, cris.state_dict()[key])
    assert not torch.equal(made.proj.txt.weight, cris.proj.txt.weight)
    del state["ln_final.bias"]
    torch.save(state, tmp_path / "half.pt")
    with pytest.raises(ValueError, match=r"1 missing \(ln_final\.bias\)"):
        import_model(tmp_path / "half.pt", options=options)


def test_biomedclip_becomes_biomedclipseg_and_d(tmp_path, biomedclipseg, clipseg, like):
    own, encoders = state_of(biomedclipseg), "biomedclip."
    state = {name.removeprefix(encoders): value for name, value in own.items() if name.startswith(encoders)}
    source = tmp_path / "BiomedCLIP"
    source.mkdir()
    state["text.transformer.embeddings.position_ids"] = torch.arange(512)
    torch.save(state, source / "open_clip_pytorch_model.bin")
    biomedclipseg.tokenizer.save_pretrained(source)
    options = replace(like["biomedclipseg"], tokenizer=None)
    plain = import_model(source, options=options)
    assert plain.name == "BiomedCLIP" and read_card(plain).family == "biomedclipseg"
    assert "finetune before use" in read_card(plain).title
    made = load_model(plain)
    assert all(torch.equal(value, own[name]) for name, value in made.state_dict().items() if encoders in name)
    assert not torch.equal(made.decoder.film_mul.weight, biomedclipseg.decoder.film_mul.weight)
    with pytest.raises(ValueError, match="say where one is \\(--decoder\\)"):
        import_model(source, "d", replace(options, family="biomedclipseg-d"))
    clipseg.save(tmp_path / "clipseg")
    torch.save({name: v for name, v in state_of(clipseg).items() if "decoder." in name}, tmp_path / "decoder.pt")
    for decoder in ("clipseg", "decoder.pt"):
        folder = import_model(source, decoder, replace(options, decoder=tmp_path / decoder))
        assert read_card(folder).family == "biomedclipseg-d"
        assert_same(folder, small_d(biomedclipseg, clipseg))


def small_d(biomedclipseg, clipseg):
    return copy.deepcopy(biomedclipseg).with_decoder_of(clipseg)


def test_vocabulary_of_biomedclip_must_be_given_and_fit(tmp_path, biomedclipseg, clipseg, like):
    torch.save(state_of(biomedclipseg), tmp_path / "a.pt")
    options = replace(like["biomedclipseg"], family="biomedclipseg", tokenizer=None)
    with pytest.raises(ValueError, match=r"say where a folder with its vocab\.txt is \(--tokenizer"):
        import_model(tmp_path / "a.pt", options=options)
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    options = replace(options, tokenizer=folder)
    with pytest.raises(ValueError, match="--tokenizer"):
        import_model(tmp_path / "a.pt", options=options)
    vocabulary = biomedclipseg.tokenizer.get_vocab()
    words = sorted(vocabulary, key=vocabulary.__getitem__)
    (folder / "vocab.txt").write_text("\n".join(words[:6]) + "\n")
    with pytest.raises(ValueError, match=f"knows 6 tokens, but the weights {len(words)}"):
        import_model(tmp_path / "a.pt", options=options)
    # A folder of fetched files holds it one level down.
    (folder / "vocab.txt").unlink()
    (folder / "microsoft--BiomedCLIP").mkdir()
    (folder / "microsoft--BiomedCLIP" / "vocab.txt").write_text("\n".join(words) + "\n")
    made = load_model(import_model(tmp_path / "a.pt", options=options))
    assert made.tokenize(TEXTS).tolist() == biomedclipseg.tokenize(TEXTS).tolist()
    torch.save(state_of(clipseg), tmp_path / "c.pt")
    with pytest.raises(ValueError, match="holds no tokenizer of CLIP"):
        import_model(tmp_path / "c.pt", options=ImportOptions(tokenizer=folder))


def test_the_family_is_asked_for_where_the_names_do_not_tell(tmp_path, biomedclipseg):
    torch.save(state_of(biomedclipseg), tmp_path / "a.pt")
    with pytest.raises(ValueError, match="say which it is: biomedclipseg or biomedclipseg-d \\(--family\\)"):
        import_model(tmp_path / "a.pt")
    torch.save({"encoder.weight": torch.zeros(2)}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"The names in .*b\.pt \(encoder\.weight, \.\.\.\) tell no model"):
        import_model(tmp_path / "b.pt")
    with pytest.raises(ValueError, match="missing"):
        import_model(tmp_path / "b.pt", options=ImportOptions(family="cris"))
    for family in ("unet", "image-only"):  # the latter is trained here, and comes in no file
        with pytest.raises(ValueError, match=rf"no model family '{family}' to import\. Known: clipseg"):
            ImportOptions(family=family)


def test_existing_models_are_replaced_only_on_request(tmp_path, clipseg):
    folder = tmp_path / "mine"
    clipseg.save(folder)
    made = import_model(folder, "m")
    (made / "note.txt").write_text("mine")
    with pytest.raises(ModelExists, match="There is a model m already; choose another name"):
        import_model(folder, "m")
    assert (made / "note.txt").is_file()
    import_model(folder, "m", replace_existing=True)
    assert not (made / "note.txt").exists() and [p.name for p in made.parent.iterdir()] == ["m"]
    assert_same(made, clipseg)


def test_a_model_that_cannot_be_replaced_stays(tmp_path, clipseg, monkeypatch):
    folder = tmp_path / "mine"
    clipseg.save(folder)
    made = import_model(folder, "m")
    (made / "note.txt").write_text("mine")
    rename = Path.replace

    def refuse(self, target):
        if self.name.startswith(".m-") and Path(target) == made:
            raise PermissionError("in use")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ValueError, match=r"models/m cannot be written: in use"):
        import_model(folder, "m", replace_existing=True)
    assert (made / "note.txt").is_file() and [p.name for p in made.parent.iterdir()] == ["m"]
    assert len({path.stat().st_mode for path in made.iterdir()}) == 1


def test_a_folder_to_be_like_must_have_a_configuration(tmp_path, cris):
    torch.save(state_of(cris), tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt cannot be imported: .*config\.json"):
        import_model(tmp_path / "a.pt", options=ImportOptions(like=tmp_path))


@pytest.mark.parametrize(
    "name",
    ["starter", "CON", "nul.txt", "fetched.json", "a.", "a ", "a" * 101, "../outside", ".hidden", "a/b", " ", "a\\b"],
)
def test_names_that_are_no_names_are_refused(tmp_path, clipseg, name):
    clipseg.save(tmp_path / "mine")
    with pytest.raises(ValueError, match="cannot be the name of a model"):
        import_model(tmp_path / "mine", name)
    assert not user_models_folder().exists()


@pytest.mark.parametrize(
    ("text", "name"),
    {
        "epoch=12-step=3400": "epoch-12-step-3400",
        "best (1)": "best-1",
        "épreuve": "epreuve",
        "模型": "model",
        "": "model",
        "..": "model",
        "CON": "model-CON",
        "con.v2": "model-con.v2",
        "Lpt1": "model-Lpt1",
        "console": "console",
        "clipseg-rd64_v1.5": "clipseg-rd64_v1.5",
        "ends.": "ends",
        "-begins": "begins",
        "a/b\\c\n": "a-b-c",
        "x" * 300: "x" * 100,
    }.items(),
)
def test_default_names_can_be_names_everywhere(tmp_path, text, name):
    assert clean_name(text) == name and target_dir(name, tmp_path) == tmp_path / name


def test_names_that_lightning_gives_become_names_and_taken_ones_get_a_number(tmp_path, cris, like):
    for file in ("epoch=12-step=3400.ckpt", "best (1).ckpt", "starter.ckpt"):
        torch.save(lightning(cris, "net."), tmp_path / file)
    checkpoint = tmp_path / "epoch=12-step=3400.ckpt"
    made = [import_model(checkpoint, options=like["cris"]).name for _ in range(3)]
    assert made == ["epoch-12-step-3400", "epoch-12-step-3400-2", "epoch-12-step-3400-3"]
    assert import_model(checkpoint, options=like["cris"], replace_existing=True).name == made[0]
    assert import_model(tmp_path / "best (1).ckpt", options=like["cris"]).name == "best-1"
    assert import_model(tmp_path / "starter.ckpt", options=like["cris"]).name == "starter-2"
    assert find_model(made[1]).card.name == made[1]


def test_the_name_is_checked_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "read_checkpoint", lambda _: pytest.fail("read"))
    (user_models_folder() / "taken").mkdir(parents=True)
    (tmp_path / "a.ckpt").touch()
    with pytest.raises(ModelExists):
        import_model(tmp_path / "a.ckpt", "taken")
    with pytest.raises(ValueError, match="cannot be the name"):
        import_model(tmp_path / "a.ckpt", "..")


def test_the_file_mode_mask_is_not_touched_while_others_write(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("touched"))
    with atomic.replacing(tmp_path / "a") as temporary:
        temporary.write_text("a")
    with atomic.making_folder(tmp_path / "b") as folder:
        (folder / "c").write_text("c")
        assert atomic.unfinished(tmp_path / "b") == {folder} and not atomic.unfinished(tmp_path / "c")
    assert not atomic.unfinished(tmp_path / "b")


def test_paths_without_weights_give_a_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.safetensors").write_bytes(b"no weights")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    torch.save({"w": torch.tensor([1.0, float("nan")])}, tmp_path / "nan.pt")
    for name, words in {
        "gone.pt": "There is no file",
        "empty": r"holds no weights \(model\.safetensors",
        "a.safetensors": "cannot be read as safetensors",
        "module.pt": r"holds no state dict \(it names .*torch\.nn\.modules\.linear\.Linear.*, which are never made\)",
        "nan.pt": r"not finite, in 1 entries \(w\)",
    }.items():
        with pytest.raises(ValueError, match=words):
            import_model(tmp_path / name)


def test_what_is_ignored_is_told(tmp_path, cris, like):
    torch.save(lightning(cris, "net."), tmp_path / "a.ckpt")
    summary = read_card(import_model(tmp_path / "a.ckpt", options=like["cris"])).summary
    assert "Imported from a.ckpt. Ignored " in summary and "entries and classes beside the weights: " in summary
    ignored = read_checkpoint(tmp_path / "a.ckpt").ignored
    assert f"Ignored {len(ignored)} " in summary
    assert "loss_fn.weight" in ignored and "functools.partial" in ignored and any("DiceLoss" in i for i in ignored)


def test_malicious_checkpoint_does_nothing_and_gives_a_sentence_or_a_model(tmp_path, cris, like):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    torch.save(Evil(), tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"names .*system, which are never made"):
        import_model(tmp_path / "evil.pt")
    content = lightning(cris, "net.")
    content["state_dict"]["net.backbone.evil"] = content["callbacks"] = Evil()
    torch.save(content, tmp_path / "hidden.ckpt")
    folder = import_model(tmp_path / "hidden.ckpt", options=like["cris"])
    assert isinstance(load_model(folder), CRIS) and not (tmp_path / "executed").exists()
