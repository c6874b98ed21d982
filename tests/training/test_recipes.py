"""Every shipped recipe reads; those of both families train, on made data in the paper's layout and a tiny base."""

import csv
import json
import re
import shutil
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from monai.losses import DiceLoss
from PIL import Image
from torch.utils.data import DataLoader, DistributedSampler

from medvlsm_training.__main__ import main
from medvlsm_training.config import LossConfig, ModelConfig, PromptConfig, Recipe
from medvlsm_training.data import Batch
from medvlsm_training.evaluation.threshold import sweep
from medvlsm_training.losses import mean_over_images, presence_loss, prompt_loss
from medvlsm_training.models import starting_model
from medvlsm_training.module import SegmentationModule
from medvlsm_training.recipes import SHIPPED, dumped, listing, load_recipe, shipped_recipes
from medvlsm_training.sources import read_items
from medvlsm_training.train import train
from napari_medvlsm.core.datasets.findings import KINDS
from napari_medvlsm.core.models.architectures.cris import CRIS, CRISConfig
from napari_medvlsm.core.models.architectures.image_only import ImageOnly, ImageOnlyConfig, plane_names
from napari_medvlsm.core.models.loading import load_model
from napari_medvlsm.core.models.store.card import BASE_FOLDER, KeptBase, ModelCard, read_card, write_card
from napari_medvlsm.core.prompts import load_vocabulary
from napari_medvlsm.core.prompts.upstream import load_datasets
from napari_medvlsm.core.runs.results import trained_on

SAMPLE = json.loads((Path(__file__).parents[1] / "core" / "data" / "annotations_sample.json").read_text("utf-8"))[
    "items"
]
VOCABULARY = load_vocabulary()
IMAGE_ONLY = ("unet", "unet++", "deeplabv3+")
MODELS = ("clipseg", "cris", "biomedclipseg", "biomedclipseg-d", *IMAGE_ONLY)
SETS = ("kvasir_polyp", "clinicdb_polyp", "bkai_polyp", "isic", "dfu", "camus", "busi", "chexlocalize")
UNSEEN = ("cvc300_polyp", "colondb_polyp", "etis_polyp")
TRAINED = tuple(
    name
    for name in shipped_recipes()
    if name.startswith(("paper/", "best/")) and name not in ("paper/zero_shot", "best/own")
)


def scan(rng, radius, size=48):
    """A disk on noise, and its mask; a radius of 0 gives an empty one."""
    y, x = np.mgrid[:size, :size]
    row, col = rng.integers(12, size - 12, 2)
    mask = (y - row) ** 2 + (x - col) ** 2 < radius**2
    return (rng.integers(0, 80, (size, size, 3)) + 150 * mask[..., None]).astype(np.uint8), mask


def numbers(kind, where=""):
    """Keys of all numbers of a recipe, and their types as text."""
    for key, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            yield from numbers(hint, f"{where}{key}.")
        elif hint in (int, float) or hint == tuple[float, float]:
            yield f"{where}{key}", str(hint)


def upstream_set(root, name, rng, counts=(6, 2, 2)):
    """A set of the paper in its own layout, with prompts of upstream and made pictures."""
    for part in ("images", "masks", "anns"):
        (root / name / part).mkdir(parents=True)
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        entries = []
        for i in range(count):
            said = SAMPLE[name][i % len(SAMPLE[name])]["prompts"]
            image, mask = scan(rng, 0 if "no " in str(said["p1"]).lower() else 9)
            Image.fromarray(image).save(root / name / "images" / f"{split}{i}.png")
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / name / "masks" / f"{split}{i}.png")
            entries.append({"img_name": f"{split}{i}.png", "mask_name": f"{split}{i}.png", "prompts": said})
        (root / name / "anns" / f"{split}.json").write_text(json.dumps(entries))


@pytest.fixture
def data(tmp_path, rng):
    root = tmp_path / "data"
    upstream_set(root, "kvasir_polyp", rng)
    return root


class TestShipped:
    def test_both_families_hold_the_papers_experiments(self):
        experiments = {*SETS, "endoscopy_pooled", "pooled"}
        assert {name.removeprefix("best/") for name in TRAINED if name.startswith("best/")} == experiments
        assert {name.removeprefix("paper/") for name in TRAINED if name.startswith("paper/")} == experiments
        assert {"starter", "paper/zero_shot"} <= {*shipped_recipes()} - {*TRAINED}
        for family in ("paper", "best"):
            more = {"starter"} if family == "best" else set()
            assert {path.stem for path in (SHIPPED / family / "models").iterdir()} == {*MODELS} | more

    @pytest.mark.parametrize("name", TRAINED)
    def test_every_recipe_reads_with_every_model(self, name):
        names, experiment = set(), name.partition("/")[2]
        for model in MODELS:
            recipe = load_recipe(name, [f"model={model}"])
            names.add(recipe.name)
            assert recipe.model.family == ("image-only" if model in IMAGE_ONLY else model)
            assert (recipe.model.base or recipe.model.sizes["architecture"]) == model
            assert set(recipe.accept) <= set(KINDS)
            trained = [s.folder for s in recipe.sources if not s.tested_only]
            assert {s.folder for s in recipe.sources} - {*trained} == ({*UNSEEN} if "pooled" in name else set())
            pools = {"pooled": SETS, "endoscopy_pooled": SETS[:3]}
            assert tuple(trained) == pools.get(experiment, (experiment,))
            assert {s.modality for s in recipe.sources} <= {*VOCABULARY.modalities}
        assert names == {name.replace("/", "_")}

    @pytest.mark.parametrize("name", [*TRAINED, "paper/zero_shot", "best/own", "starter"])
    def test_a_recipe_is_what_its_dump_is(self, name, tmp_path):
        recipe = load_recipe(name)
        (tmp_path / "recipe.yaml").write_text(dumped(recipe), "utf-8")
        assert load_recipe(tmp_path / "recipe.yaml") == recipe

    @pytest.mark.parametrize("name", [name for name in TRAINED if name.startswith("paper/")])
    def test_the_papers_way(self, name):
        """`training_recipes.md` of the facts that these files were written from, as numbers."""
        rates = {"clipseg": 2e-3, "biomedclipseg": 2e-3, "biomedclipseg-d": 2e-3, "cris": 2e-5} | dict.fromkeys(
            IMAGE_ONLY, 1e-3
        )
        batches = {"clipseg": 128, "biomedclipseg": 128, "biomedclipseg-d": 128, "cris": 32} | dict.fromkeys(
            IMAGE_ONLY, 16
        )
        sides = {"clipseg": 352, "biomedclipseg": 224, "biomedclipseg-d": 224, "cris": 416} | dict.fromkeys(
            IMAGE_ONLY, 256
        )
        for model in MODELS:
            recipe = load_recipe(name, [f"model={model}"])
            optimizer, trainer, words = recipe.optimizer, recipe.trainer, model not in IMAGE_ONLY
            assert (optimizer.learning_rate, trainer.batch_size) == (rates[model], batches[model])
            assert recipe.model.image_size == sides[model]
            assert (optimizer.name, optimizer.weight_decay) == (("adamw", 1e-3) if words else ("adam", 0))
            assert optimizer.schedule == ("plateau" if words else "constant")
            assert (optimizer.plateau_factor, optimizer.plateau_patience) == (0.1, 5)
            assert (optimizer.clip, optimizer.ema) == (0.5, 0) and optimizer.decay_all == words
            assert (trainer.min_epochs, trainer.max_epochs, trainer.patience, trainer.min_delta) == (10, 1000, 20, 1e-4)
            assert (trainer.threshold, trainer.precision) == (0.35 if model == "cris" else 0.5, "16-mixed")
            assert not trainer.drop_last and not trainer.tune_threshold and trainer.count_empty
            assert recipe.loss == LossConfig(1.0, 0.0, 1e-5) and recipe.seed == 42
            assert recipe.augmentation == type(recipe.augmentation)() and not recipe.cache.views
            assert recipe.model.trained == ("decoder" if words and model != "cris" else "all")
            assert all(s.as_listed != s.tested_only for s in recipe.sources)
            if words:
                assert (
                    recipe.prompts.wording == "upstream" and recipe.prompts.per_mask and recipe.prompts.per_image == 1
                )
                assert not (recipe.prompts.absent or recipe.prompts.wrong or recipe.prompts.templates)
                levels = {*recipe.prompts.mix} - {"random"}
                assert all(levels <= {*load_datasets()[s.folder].family.upstream} for s in recipe.sources)

    @pytest.mark.parametrize("name", [name for name in TRAINED if name.startswith("best/")])
    def test_our_way(self, name):
        for model in MODELS:
            recipe = load_recipe(name, [f"model={model}"])
            assert not recipe.accept and not any(s.as_listed for s in recipe.sources)
            assert bool(recipe.cache.views) == (recipe.model.trained == "decoder")
            assert recipe.loss == LossConfig(1.0, 1.0, 1.0) and recipe.optimizer.schedule == "cosine"
            assert recipe.augmentation.degrees and recipe.optimizer.ema
            if model not in IMAGE_ONLY:
                assert recipe.prompts.absent and recipe.prompts.wrong and recipe.prompts.validation == "p1"

    def test_zero_shot_is_for_models_with_words(self):
        for model in ("clipseg", "cris"):
            recipe = load_recipe("paper/zero_shot", [f"model={model}"])
            assert recipe.trainer.max_epochs == 0 and len(recipe.sources) == 11
            assert recipe.trainer.threshold == (0.35 if model == "cris" else 0.5) and not recipe.trainer.tune_threshold
        with pytest.raises(ValueError, match=r"measures the base as it is, but this recipe's model has none"):
            load_recipe("paper/zero_shot", ["model=unet"])

    def test_files_keep_to_the_width_of_the_code(self):
        for path in (*(SHIPPED / "paper").rglob("*.yaml"), *(SHIPPED / "best").rglob("*.yaml")):
            assert max(map(len, path.read_text("utf-8").splitlines())) <= 120, path

    def test_the_list_names_every_recipe_with_its_title(self, capsys):
        assert main(["train"]) == 0
        out = capsys.readouterr().out
        assert out.rstrip("\n") == listing()
        for name in shipped_recipes():
            assert re.search(rf"^  {name} +{re.escape(load_recipe(name).title)}$", out, re.M)
        assert "paper (model=biomedclipseg, biomedclipseg-d, clipseg, cris, deeplabv3+, unet, unet++)" in out

    @pytest.mark.parametrize(
        "words",
        [
            ["best/isic", "--minutes", "5", "trainer.max_epochs=3"],
            ["--minutes", "5", "best/isic", "trainer.max_epochs=3"],
            ["best/isic", "trainer.max_epochs=3", "--minutes", "5"],
            ["--accept", "empty-mask", "best/isic", "--accept", "copy-in-split", "trainer.max_epochs=3"],
        ],
    )
    def test_options_may_stand_anywhere_among_the_words(self, capsys, words):
        assert main(["train", *words]) == 0
        assert "max_epochs: 3" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "words", [["train", "best/isic", "--epochs", "5"], ["package", "run", "more", "--data", "data"]]
    )
    def test_words_that_no_command_takes_are_refused(self, capsys, words):
        with pytest.raises(SystemExit):
            main(words)
        assert "unrecognized arguments" in capsys.readouterr().err

    def test_data_without_a_recipe_are_refused(self, capsys):
        assert main(["train", "--data", "data"]) == 2 and "needs a recipe" in capsys.readouterr().err

    def test_a_recipe_without_data_is_shown_with_its_changes(self, capsys, tmp_path):
        words = ["model=cris", "trainer.max_epochs=12"]
        assert main(["train", "best/isic", *words]) == 0
        (tmp_path / "shown.yaml").write_text(capsys.readouterr().out, "utf-8")
        assert load_recipe(tmp_path / "shown.yaml") == load_recipe("best/isic", words)

    def test_a_run_folder_needs_data(self, capsys):
        assert main(["train", "best/isic", "--run", "run"]) == 2 and "needs --data" in capsys.readouterr().err


class TestWords:
    def test_words_win_over_the_file_and_the_model_file(self):
        words = ["model=cris", "prompts.mix={p4: 1, p1: 2}", "trainer.max_epochs=12", "optimizer.learning_rate=1e-4"]
        recipe = load_recipe("paper/kvasir_polyp", [*words, "sources=[dfu]", "model.base=mine"])
        assert recipe.prompts.mix == {"p4": 1, "p1": 2} and recipe.trainer.max_epochs == 12
        assert recipe.optimizer.learning_rate == 1e-4 and recipe.model.base == "mine"
        assert recipe.sources[0].name == "DFUC 2022" and recipe.trainer.threshold == 0.35

    def test_a_recipe_of_ones_own_may_name_a_shipped_model(self, tmp_path):
        (tmp_path / "mine.yaml").write_text(
            "name: mine\ntitle: Mine\nsummary: None.\nlicence: CC0\nmodel: best/cris\nsources: [isic]\n"
            "trainer: {max_epochs: 3}\n"
        )
        recipe = load_recipe(tmp_path / "mine.yaml")
        assert recipe.model.family == "cris" and recipe.trainer.max_epochs == 3 and recipe.trainer.accumulate == 4

    def test_the_recipe_of_the_guide_reads(self, tmp_path):
        guide = (Path(__file__).parents[2] / "training" / "README.md").read_text("utf-8")
        (text,) = re.findall(r"```yaml\n(.*?)```", guide, re.S)
        (tmp_path / "mine.yaml").write_text(text, "utf-8")
        recipe = load_recipe(tmp_path / "mine.yaml")
        assert recipe.model.base == "clipseg" and [s.folder for s in recipe.sources] == ["ulcers", "dfu"]

    def test_recipes_that_the_guides_name_are_shipped(self):
        root = Path(__file__).parents[2]
        for guide in (root / "README.md", root / "training" / "README.md"):
            named = re.findall(r"medvlsm train ((?:best|paper)/\w+)((?: [\w.]+=\S+)*)", guide.read_text("utf-8"))
            assert named
            for name, words in named:
                load_recipe(name, words.split())

    @pytest.mark.parametrize(
        ("name", "words", "sentence"),
        [
            ("paper/kvasir", [], r"no recipe 'paper/kvasir': the nearest shipped ones are paper/kvasir_polyp"),
            ("paper/isic", ["model=clipsg"], r"no model 'clipsg' .* Did you mean 'clipseg'"),
            ("paper/isic", ["model=nest/cris"], r"no model 'nest/cris' .*there are: none"),
            ("paper/isic", ["sources=[isc]"], r"no data set 'isc'; .* Did you mean 'isic'"),
            ("paper/isic", ["sources=isic"], r"sources must be a list, such as \[kvasir_polyp\], but is 'isic'"),
            ("paper/isic", ["sources=3"], r"sources must be a list, .*, but is 3"),
            ("best/isic", ["model.sizes=3"], r"model.sizes: Input should be a valid dictionary"),
            ("best/isic", ["model.sizes=[encoder_weights]"], r"model.sizes: Input should be a valid dictionary"),
            ("paper/isic", ["trainer.max_epoch=3"], r"'trainer.max_epoch'.* Did you mean 'max_epochs'"),
            ("paper/isic", ["max_epochs=3"], r"'max_epochs'.* Did you mean 'trainer.max_epochs'"),
            ("paper/isic", ["optimizer.schedule=cosin"], r"schedule: Input should be 'cosine', .* but it is 'cosin'"),
            ("paper/isic", ["trainer.batch_size=many"], r"trainer.batch_size: .*integer.* but it is 'many'"),
            ("paper/isic", ["prompts.mix={p66: 1}"], r"isic.yaml: prompts: There is no kind of prompt 'p66'"),
            ("paper/isic", ["prompts.mix={p6"], r"prompts.mix is no valid YAML"),
            ("paper/isic", ["epochs"], r"'epochs' changes no key; write key=value"),
            ("paper/isic", ["seed.sub=1"], r"seed.sub cannot be set: seed holds 42"),
            ("paper/isic", ["trainer.max_epochs=-1"], r"max_epochs: .*greater than or equal to 0, but it is -1"),
            ("paper/isic", ["sources=[isic, isic]"], r"The source isic stands in the recipe twice"),
            ("paper/zero_shot", ["trainer.max_epochs=5"], r"All sources are tested_only"),
            ("best/isic", ["augmentation.zoom=[2, 1]"], r"zoom goes from the smaller to the larger"),
            ("best/isic", ["loss={dice: 0, bce: 0}"], r"nothing would be learned"),
            ("best/isic", ["model.lora.projections=[]"], r"LoRA's projections must be some of"),
        ],
    )
    def test_mistakes_are_named_with_the_nearest(self, name, words, sentence):
        with pytest.raises(ValueError, match=sentence):
            load_recipe(name, words)

    @pytest.mark.parametrize("value", ["-1", "1.0e+12", ".nan", ".inf"])
    def test_every_number_has_a_range(self, value):
        """Also one that is added to the configuration."""
        for key, hint in numbers(Recipe):
            with pytest.raises(ValueError, match=rf"isic.yaml: {re.escape(key)}\b.*Input should"):
                load_recipe("best/isic", [f"{key}={f'[{value}, 1]' if 'tuple' in hint else value}"])


class TestLoss:
    def test_the_papers_loss_is_monais_dice_of_probabilities(self):
        torch.manual_seed(1)
        logits, truth = 3 * torch.randn(5, 24, 24), (torch.rand(5, 24, 24) > 0.7).float()
        truth[3] = 0
        for model in MODELS:
            ours = prompt_loss(logits, truth, load_recipe("paper/busi", [f"model={model}"]).loss)
            # As upstream calls it: the sigmoid before, and no activation of its own.
            assert torch.equal(ours.mean(), DiceLoss()(logits.sigmoid()[:, None], truth[:, None]))

    def test_asking_for_what_an_image_shows_is_the_tuned_loss_of_all_planes(self):
        """Of each image the planes of its own targets, mean over these, then over images."""
        recipe = load_recipe("paper/pooled", ["model=unet"])
        targets = ("polyp", "myocardium", "left atrium cavity", "edema")
        torch.manual_seed(2)
        config = ImageOnlyConfig(targets, "unet", "mobilenet_v2", (32, 24, 16, 8, 8))
        module = SegmentationModule(ImageOnly.from_config(config, 64), recipe, 1)
        shown = [["polyp"], ["myocardium", "left atrium cavity"], ["left atrium cavity"]]
        pixels, planes = torch.randn(3, 3, 64, 64), torch.zeros(3, 4, 64, 64)
        for i, names in enumerate(shown):
            for name in names:
                planes[i, targets.index(name), 8 * i : 40, 5:50] = 1
        owner = torch.tensor([i for i, names in enumerate(shown) for _ in names])
        texts = [name for names in shown for name in names]
        masks = torch.stack([planes[i, targets.index(n)] for i, names in enumerate(shown) for n in names])
        batch = Batch(pixels, texts, masks, owner, torch.full_like(owner, -1))
        ours = mean_over_images(module._losses(module._logits(pixels, batch), batch), owner)

        every = module.model.net(pixels).sigmoid()
        tuned = [DiceLoss()(every[i : i + 1, (p := planes[i].any(2).any(1))], planes[i : i + 1, p]) for i in range(3)]
        torch.testing.assert_close(ours, torch.stack(tuned).mean())
        (gradient,) = torch.autograd.grad(ours, [module.model.net.segmentation_head[0].bias])
        assert gradient[:3].all() and gradient[3] == 0

    def test_presence_counts_a_small_spot_that_the_mean_over_pixels_hardly_sees(self):
        truth = torch.zeros(3, 64, 64)
        truth[0, 10:20, 10:20] = 1
        logits = torch.full((3, 64, 64), -6.0)
        logits[0, 10:20, 10:20] = 6
        logits[1, 30:34, 30:34] = 6  # outlined, and not there
        found = presence_loss(logits, truth)
        assert found[0] < 0.01 and found[1] > 5 and found[2] < 0.01
        missed = presence_loss(logits[2:], truth[:1])
        assert missed > 5

        config = load_recipe("starter").loss
        without = prompt_loss(logits, truth, replace(config, presence=0.0))
        assert torch.equal(prompt_loss(logits, truth, config), without + config.presence * found)

    def test_an_image_counts_once_however_many_prompts_it_has(self):
        losses = torch.tensor([1.0, 2.0, 3.0, 10.0])
        assert mean_over_images(losses, torch.tensor([0, 0, 0, 1])) == 6
        assert mean_over_images(losses, torch.tensor([1, 1, 1, 0])) == 6
        assert mean_over_images(losses, torch.arange(4)) == losses.mean()

    @pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*")
    @pytest.mark.parametrize(("count_empty", "expected"), [(False, 1.0), (True, 0.75)])
    def test_validation_dice_counts_what_is_not_there_only_as_the_paper_does(self, count_empty, expected, monkeypatch):
        recipe = load_recipe("paper/busi", [f"trainer.count_empty={str(count_empty).lower()}", "model=unet"])
        config = ImageOnlyConfig(("breast tumor",), "unet", "mobilenet_v2", (32, 24, 16, 8, 8))
        module = SegmentationModule(ImageOnly.from_config(config, 64), recipe, 1)
        masks = torch.zeros(4, 64, 64)
        masks[0, :32] = masks[1, :32] = 1
        logits = torch.full((4, 64, 64), -5.0)
        logits[0, :32] = logits[1, :32] = logits[3, :32] = 5  # right, right, rightly nothing, wrongly something
        monkeypatch.setattr(module, "_logits", lambda *_: logits)
        batch = Batch(torch.zeros(4, 3, 64, 64), ["breast tumor"] * 4, masks, torch.arange(4), torch.full((4,), -1))
        loader = DataLoader(
            range(4), 4, sampler=DistributedSampler(range(4), 1, 0, shuffle=False), collate_fn=lambda _: batch
        )
        options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        (found,) = Trainer(accelerator="cpu", **options).validate(module, loader, verbose=False)
        assert found["val/dice"] == expected and found["val/false_positive_rate"] == 0.5


def trained(name, data, run, base, *words):
    """`medvlsm train` on a CPU, small and short."""
    small = ["trainer.batch_size=4", "trainer.workers=0", "model.image_size=0", f"model.base='{base}'"]
    short = ["trainer.min_epochs=1", "trainer.max_epochs=2"]
    places = ["--data", str(data), "--run", str(run), "--accelerator", "cpu"]
    assert main(["train", name, *small, *short, *words, *places]) == 0
    return read_card(run / "model")


class TestRuns:
    @pytest.mark.parametrize("name", ["paper/kvasir_polyp", "best/kvasir_polyp"])
    def test_two_epochs_give_a_model(self, name, data, model_folder, tmp_path):
        card = trained(name, data, tmp_path / "run", model_folder)
        before, after = load_model(model_folder).state_dict(), load_model(tmp_path / "run" / "model").state_dict()
        # A moving average of what stays the same is the same, up to rounding.
        changed = {key for key, value in before.items() if not torch.allclose(value, after[key], rtol=1e-4, atol=1e-5)}
        assert changed and all(key.startswith("net.decoder.") for key in changed)
        assert card.name == name.replace("/", "_") and card.targets == ("polyp",) and card.base == "Small (small)"
        assert card.metrics["test"]["polyp"]["cases"] == 2
        with (tmp_path / "run" / "curves.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 2
        if name.startswith("paper/"):
            assert card.threshold == 0.5
            assert (tmp_path / "run" / "model" / "LICENSE").is_file()

    def test_a_last_small_batch_is_seen_where_the_recipe_says_so(self, data, model_folder, tmp_path):
        seen = []
        for drop_last in ("true", "false"):
            words = ["trainer.batch_size=4", "trainer.workers=0", "model.image_size=0", f"model.base={model_folder}"]
            recipe = load_recipe("paper/kvasir_polyp", [*words, f"trainer.drop_last={drop_last}"])
            recipe = replace(recipe, trainer=replace(recipe.trainer, min_epochs=1, max_epochs=1))
            train(recipe, data, tmp_path / drop_last, report=lambda event: seen.append(event))
        assert [event.steps_per_epoch for event in seen if hasattr(event, "steps_per_epoch")] == [1, 2]

    def test_no_epochs_measure_the_base_as_it_is(self, data, rng, model_folder, tmp_path):
        upstream_set(data, "etis_polyp", rng, (1, 0, 3))
        theirs = {"recipe": {"sources": [{"folder": "isic"}]}}
        card = replace(read_card(model_folder), licence="Apache-2.0", citation="someone", training=theirs)
        write_card(card, model_folder)
        sources = "sources=[{folder: kvasir_polyp, tested_only: true}, {folder: etis_polyp, tested_only: true}]"
        run = tmp_path / "run"
        card = trained(
            "paper/zero_shot", data, run, model_folder, sources, "trainer.min_epochs=0", "trainer.max_epochs=0"
        )
        assert card.metrics["test"]["polyp"]["cases"] == 5 and card.threshold == 0.5
        assert (card.name, card.licence, card.citation) == ("paper_zero_shot", "Apache-2.0", "someone")
        # What was only measured is not what it was trained on.
        assert trained_on(card.training) == ("isic",)
        assert card.open_vocabulary and not card.data and not (run / "model" / "LICENSE").exists()
        before, after = load_model(model_folder).state_dict(), load_model(run / "model").state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())

    def test_a_base_that_is_only_measured_answers_with_what_it_keeps(self, data, model_folder, tmp_path, monkeypatch):
        shutil.copytree(model_folder, model_folder / BASE_FOLDER)
        kept = KeptBase("First", {"polyp": ("polyp",)}, {"vessels": ("vessels",)})
        write_card(replace(read_card(model_folder), kept_base=kept), model_folder)
        asked = []

        def noted(segmenter, *rest, **options):
            asked.append(segmenter.place_of("polyp"))
            return sweep(segmenter, *rest, **options)

        monkeypatch.setattr("medvlsm_training.package.sweep", noted)
        run, none = tmp_path / "run", ("trainer.min_epochs=0", "trainer.max_epochs=0")
        card = trained("best/kvasir_polyp", data, run, model_folder, *none)
        assert asked == [1] and card.kept_base == kept and (run / "model" / BASE_FOLDER).is_dir()

    def test_an_image_only_baseline_is_trained_and_measured_by_the_same_commands(self, data, rng, tmp_path):
        upstream_set(data, "isic", rng)
        words = ["sources=[kvasir_polyp, isic]", "model.image_size=64", "model.sizes.encoder=mobilenet_v2"]
        words += ["model.encoder_weights=''", "model.sizes.decoder_channels=[32, 24, 16, 8, 8]"]
        card = trained("paper/pooled", data, tmp_path / "run", "", "model=unet", *words)
        assert card.family == "image-only" and card.targets == ("polyp", "skin melanoma")
        assert not card.open_vocabulary and "pink" not in card.words and "polyp" in card.words
        model = load_model(tmp_path / "run" / "model")
        assert model.config.targets == ("polyp", "skin melanoma") and model.image_size == 64
        assert model.config.names == plane_names(model.config.targets, VOCABULARY)
        assert set(card.metrics["test"]) == {"polyp", "skin melanoma"}

    def test_what_is_listed_twice_is_refused_unless_accepted(self, data, model_folder, tmp_path):
        anns = data / "kvasir_polyp" / "anns"
        both = [json.loads((anns / f"{split}.json").read_text()) for split in ("train", "test")]
        (anns / "train.json").write_text(json.dumps(both[0] + both[1][:1]))
        words = ["model.image_size=0", f"model.base={model_folder}"]
        with pytest.raises(ValueError, match=r"would mislead: .*\(image-in-two-splits\).*accept image-in-two-splits"):
            train(load_recipe("paper/kvasir_polyp", words), data, tmp_path / "run")
        accepted = load_recipe("paper/bkai_polyp", [*words, "sources=[{folder: kvasir_polyp, as_listed: true}]"])
        assert len(read_items(accepted, data, VOCABULARY)["train"]) == 7
        assert len(read_items(load_recipe("best/kvasir_polyp", words), data, VOCABULARY)["train"]) == 6

    def test_without_validation_images_nothing_starts(self, data, model_folder, tmp_path):
        (data / "kvasir_polyp" / "anns" / "val.json").write_text("[]")
        with pytest.raises(ValueError, match="leave no validation images"):
            train(load_recipe("best/kvasir_polyp", [f"model.base={model_folder}"]), data, tmp_path / "run")

    def test_a_tested_set_needs_no_other_lists(self, data, rng):
        upstream_set(data, "etis_polyp", rng, (2, 2, 3))
        for split in ("train", "val"):
            (data / "etis_polyp" / "anns" / f"{split}.json").unlink()
        recipe = load_recipe("best/kvasir_polyp", ["sources=[{folder: etis_polyp, tested_only: true}, kvasir_polyp]"])
        assert {split: len(found) for split, found in read_items(recipe, data, VOCABULARY).items()} == {
            "train": 6,
            "val": 2,
            "test": 5,
        }


class TestStart:
    @pytest.fixture
    def cris(self, tmp_path):
        from medvlsm_training.tokenizer import cut_tokenizer

        tokenizer = cut_tokenizer(["polyp", "one small pink round polyp, located in the top left of the image"])
        sizes = {"vision_layers": (1, 1, 1, 1), "vision_width": 8, "vision_size": 64, "text_width": 32}
        sizes |= {"text_layers": 2, "text_heads": 2, "embed_dim": 64, "neck_widths": (16, 32, 64), "decoder_mlp": 64}
        config = CRISConfig(**sizes, decoder_heads=4, word_length=17, vocab_size=len(tokenizer))
        folder = tmp_path / "cris"
        CRIS.from_config(config, tokenizer, 64).save(folder)
        write_card(ModelCard("cris", "Cris", "cris"), folder)
        return folder

    def test_cris_reads_as_upstream_does(self, cris, tmp_path):
        for name, words in (("paper/isic", (77, True)), ("best/isic", (77, False))):
            recipe = load_recipe(name, ["model=cris", f"model.base={cris}", "model.image_size=0"])
            model = starting_model(recipe, (), VOCABULARY)
            assert (model.config.word_length, model.config.attend_padding) == words
            ids = model.tokenize(["polyp", "one small pink round polyp, located in the top left of the image"])
            assert (ids.shape[1] == 77) == words[1]
            model.save(tmp_path / "again")
            write_card(ModelCard("cris", "Cris", "cris"), tmp_path / "again")
            assert load_model(tmp_path / "again").config == model.config

    def test_a_base_reads_no_more_words_than_it_has_positions(self, cris):
        words = ["model=cris", f"model.base={cris}", "model.image_size=0", "model.sizes.word_length=500"]
        assert starting_model(load_recipe("best/isic", words), (), VOCABULARY).config.word_length == 77

    def test_sizes_of_a_base_are_its_own(self, cris, model_folder):
        def start(base, **more):
            recipe = load_recipe("best/isic", ["model=cris"])
            model = ModelConfig(base=str(base), **more)
            return starting_model(replace(recipe, model=model, cache=replace(recipe.cache, views=0)), (), VOCABULARY)

        with pytest.raises(ValueError, match=r"those of the base, .*only word_length and attend_padding of a CRIS"):
            start(cris, family="cris", sizes={"text_width": 64})
        with pytest.raises(ValueError, match="those of the base"):
            start(model_folder, sizes={"word_length": 17})
        with pytest.raises(ValueError, match="An adapter reads as its base does"):
            start(cris, family="cris", trained="lora", sizes={"word_length": 17})

    def test_an_image_only_base_takes_no_adapters(self, tmp_path):
        folder = tmp_path / "unet"
        ImageOnly.from_config(ImageOnlyConfig(("polyp",), "unet", "mobilenet_v2", (32, 24, 16, 8, 8)), 64).save(folder)
        write_card(ModelCard("unet", "UNet", "image-only"), folder)
        recipe = load_recipe("best/isic", ["model=unet"])
        recipe = replace(recipe, model=ModelConfig(family="image-only", base=str(folder), trained="lora"))
        with pytest.raises(ValueError, match="no attention to put adapters on"):
            starting_model(recipe, (), VOCABULARY)

    def test_an_image_only_model_is_asked_by_name_whatever_a_recipe_says(self):
        recipe = load_recipe("paper/camus", ["model=unet++", "prompts.mix={p7: 1}"])
        assert recipe.prompts == PromptConfig(mix={"p1": 1}, per_image=0)
        assert load_recipe("paper/camus", ["prompts.mix={p7: 1}"]).prompts.mix == {"p7": 1}
