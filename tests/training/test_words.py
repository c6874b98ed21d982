"""What makes words count: mosaics whose words are true, right sentences against wrong ones, negatives of all kinds."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from medvlsm_training.config import AugmentationConfig, LossConfig, PromptConfig
from medvlsm_training.consistency import consistency
from medvlsm_training.data import PromptedImages, collate
from medvlsm_training.memory import ResizedScans
from medvlsm_training.module import SegmentationModule
from medvlsm_training.mosaics import Frame, distinguishing, paste, place_in_frame, sample_frame, sentence
from medvlsm_training.opposition import opposition
from medvlsm_training.prompting import Prompter
from medvlsm_training.recipes import load_recipe
from medvlsm_training.sources import read_items
from medvlsm_training.train import train
from napari_medvlsm.core.describe import describe
from napari_medvlsm.core.prompts import load_vocabulary, parse

VOCABULARY = load_vocabulary()
TRAINED = ("polyp", "cell nuclei", "lungs", "left lung", "right lung", "foot ulcer")


def disk(row, col, radius, side=60):
    y, x = np.mgrid[:side, :side]
    return (y - row) ** 2 + (x - col) ** 2 <= radius**2


class Seen:
    """A model's input, for the images alone."""

    mean, std, image_size = (0.0,) * 3, (1.0,) * 3, 48


class TestFrames:
    @pytest.mark.parametrize("beside", [True, False])
    @pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
    def test_each_image_keeps_to_its_place(self, beside, share):
        ones = torch.ones(3, 50, 50)
        first, second = place_in_frame(ones, 2 * ones, Frame(beside, share))
        if not beside:
            first, second = first.transpose(1, 2), second.transpose(1, 2)
        border = round(50 * share)
        assert torch.allclose(first[..., :border], ones[..., :border]) and not first[..., border:].any()
        assert torch.allclose(second[..., border:], 2 * ones[..., border:]) and not second[..., :border].any()

    def test_frames_are_of_both_kinds_and_often_uneven(self):
        rng = np.random.default_rng(1)
        frames = [sample_frame(rng) for _ in range(400)]
        assert 0.4 < np.mean([f.beside for f in frames]) < 0.6
        assert 0.4 < np.mean([f.share == 0.5 for f in frames]) < 0.6
        assert {f.share < 0.5 for f in frames if f.share != 0.5} == {True, False}


class TestPasting:
    def test_a_lesion_comes_beside_the_images_own(self):
        rng = np.random.default_rng(3)
        image, other = torch.zeros(3, 60, 60), torch.full((3, 60, 60), 5.0)
        own, theirs = torch.from_numpy(disk(15, 15, 8)), torch.from_numpy(disk(40, 20, 10))
        places = set()
        for _ in range(20):
            pasted = paste(image, own, other, theirs, rng)
            assert pasted.mask.sum() == theirs.sum() and not (pasted.mask & own).any()
            assert (pasted.image[:, pasted.mask] == 5).all() and not pasted.image[:, own].any()
            beside = (pasted.image[0] > 0) & ~pasted.mask
            assert 0 < pasted.image[0][beside].max() < 5 and beside.sum() < 0.8 * theirs.sum()
            places.add(tuple(torch.nonzero(pasted.mask)[0].tolist()))
        assert len(places) > 5 and not image.any()

    def test_without_room_or_lesion_nothing_is_pasted(self):
        rng, image = np.random.default_rng(3), torch.zeros(3, 60, 60)
        own, theirs = torch.ones(60, 60, dtype=torch.bool), torch.from_numpy(disk(40, 20, 10))
        assert paste(image, own, image, theirs, rng) is None
        assert paste(image, theirs, image, torch.zeros_like(own), rng) is None


class TestConsistency:
    def test_only_prompts_that_mean_the_same_are_drawn_together(self):
        truth = torch.zeros(6, 8, 8)
        truth[:5, 2:5, 2:5] = 1
        truth[3, 0, 0] = 1  # another mask of the same image
        logits = torch.zeros(6, 8, 8)
        logits[1] += 2
        logits.requires_grad_()
        owner, against = torch.tensor([0, 0, 1, 0, 0, 0]), torch.tensor([-1, -1, -1, -1, 0, -1])
        loss = consistency(logits, truth, owner, against)
        common = (0.5 + torch.tensor(2.0).sigmoid()) / 2
        cross = torch.nn.functional.binary_cross_entropy
        expected = (cross(torch.tensor(0.5), common) + cross(torch.tensor(2.0).sigmoid(), common)) / 2
        assert loss.item() == pytest.approx((expected - cross(common, common)).item(), abs=1e-5)
        (gradient,) = torch.autograd.grad(loss, [logits])
        assert (gradient[0] < 0).all() and (gradient[1] > 0).all() and not gradient[2:].any()
        assert consistency(logits[:1], truth[:1], owner[:1], against[:1]) == 0


class TestWords:
    def test_what_fits_both_tells_nothing(self):
        left, lower, right = disk(30, 10, 6), disk(50, 10, 6), disk(30, 50, 6)
        assert distinguishing(left, right) == ("location",)
        assert distinguishing(left, lower) == ()  # the bottom left is left too
        assert distinguishing(left, disk(30, 12, 12)) == ("size",) or describe(disk(30, 12, 12)).size == "small"
        assert distinguishing(disk(30, 16, 17), disk(30, 50, 6)) == ("location", "size")
        assert distinguishing(left, np.zeros_like(left)) == ()

    def test_a_sentence_is_true_of_the_one_and_not_of_the_other(self):
        rng = np.random.default_rng(2)
        made = 0
        for _ in range(200):
            masks = [disk(*rng.integers(8, 52, 2), rng.integers(3, 22)) for _ in range(2)]
            told = distinguishing(*masks)
            text = sentence("polyp", masks[0], told, VOCABULARY, rng)
            assert (text is None) == (not told)
            if text is None:
                continue
            made += 1
            said = parse(text, VOCABULARY).attributes
            true, other = (describe(mask).measured for mask in masks)
            assert said.named() and all(getattr(said, name) == true[name] for name in said.named())
            assert any(getattr(said, name) != other[name] for name in said.named())
        assert made > 50

    @pytest.mark.parametrize("part", [0.0, 1.0])
    def test_mosaics_of_a_data_set_are_true(self, disks, disks_recipe, part):
        """A sentence means the lesion that it fits, the name both; what is asked never points at the wrong one."""
        recipe = load_recipe(disks_recipe)
        items = read_items(recipe, disks, VOCABULARY)["train"]
        prompts = PromptConfig(mix={"p1": 1, "attributes": 1}, per_image=2)
        prompter = Prompter(prompts, VOCABULARY, ["polyp"])
        images = PromptedImages(
            items, prompter, Seen(), 3, AugmentationConfig(flip=True, mosaic=1.0, paste=part), keep_scans=True
        )
        both = one = 0
        for epoch in range(6):
            images.epoch = epoch
            for sample in (images[i] for i in range(len(items))):
                if len(sample.texts) != 3:  # no words tell these two apart
                    continue
                *parts, whole = sample.masks.numpy() > 0
                assert (whole == (parts[0] | parts[1])).all() and not (parts[0] & parts[1]).any()
                assert sample.texts[2] in ("polyp", "colon polyp", "colorectal polyp")
                both += 1
                for text, mask in zip(sample.texts[:2], parts, strict=True):
                    said, true = parse(text, VOCABULARY).attributes, describe(mask).measured
                    assert said.named() and all(getattr(said, name) == true[name] for name in said.named())
                    one += 1
        assert both > 10 and one == 2 * both

    def test_lateralised_targets_never_share_a_frame(self, disks, disks_recipe):
        items = [
            replace(item, masks={"lungs": item.masks["polyp"]}, modality="chest x-ray")
            for item in read_items(load_recipe(disks_recipe), disks, VOCABULARY)["train"]
        ]
        prompter = Prompter(PromptConfig(per_image=1), VOCABULARY, ["lungs"])
        images = PromptedImages(items, prompter, Seen(), 3, AugmentationConfig(mosaic=1.0))
        assert all(len(images[i].texts) == 1 for i in range(len(items)))


class TestOpposition:
    def test_it_is_small_where_the_right_one_wins_on_the_true_region_alone(self):
        truth = torch.zeros(2, 4, 4)
        truth[:, :2] = 1
        against = torch.tensor([-1, 0])

        def lost(right, wrong):
            logits = torch.zeros(2, 4, 4)
            logits[0, :2], logits[1, :2] = right, wrong
            logits[1, 2:] = 50.0  # elsewhere the wrong one may say what it likes
            return float(opposition(logits, truth, against, 1.0))

        assert lost(0, 0) == pytest.approx(np.log(2))
        assert lost(5, -5) < 1e-3 < lost(1, 0) < lost(0, 0) < lost(-5, 5)

    def test_without_a_wrong_sentence_or_a_region_there_is_nothing_to_lose(self):
        logits = torch.randn(2, 4, 4, requires_grad=True)
        assert opposition(logits, torch.ones(2, 4, 4), torch.tensor([-1, -1]), 1.0) == 0
        assert opposition(logits, torch.zeros(2, 4, 4), torch.tensor([-1, 0]), 1.0) == 0

    def test_pairs_differ_in_one_attribute_and_the_first_is_true(self, disks, disks_recipe):
        items = read_items(load_recipe(disks_recipe), disks, VOCABULARY)["train"]
        prompter = Prompter(PromptConfig(opposed=True, per_image=2), VOCABULARY, ["polyp"])
        mask = disk(9, 9, 8)
        rng = np.random.default_rng(4)
        turned = Counter()
        for _ in range(60):
            *plain, right, wrong = prompter.sample(items[0], {"polyp": mask}, rng)
            assert len(plain) == 2 and wrong.against == 2 and right.against == -1
            assert right.target == wrong.target == "polyp"
            ours, theirs = (parse(p.text, VOCABULARY).attributes for p in (right, wrong))
            changed = [name for name in ours.named() if getattr(ours, name) != getattr(theirs, name)]
            assert len(changed) == 1 and getattr(ours, changed[0]) == describe(mask).measured[changed[0]]
            turned.update(changed)
        assert set(turned) == {"location", "size"}

    def test_places_follow_the_batch_and_wrong_sentences_have_no_loss_of_their_own(self, disks, disks_recipe, tmp_path):
        words = ["prompts.opposed=true", "loss.opposition=0.5", "prompts.absent=0"]
        recipe = load_recipe(disks_recipe, words)
        items = read_items(recipe, disks, VOCABULARY)["train"]
        prompter = Prompter(recipe.prompts, VOCABULARY, ["polyp"])
        images = PromptedImages(items, prompter, Seen(), 3, AugmentationConfig())
        batch = collate([images[i] for i in range(4)])
        wrong = (batch.against >= 0).nonzero()[:, 0]
        assert wrong.tolist() == [3, 7, 11, 15] and batch.against[wrong].tolist() == [2, 6, 10, 14]
        module = SegmentationModule(torch.nn.Identity(), recipe, 1)
        logits = torch.randn(len(batch.texts), 48, 48)
        before = module._loss(logits, batch)
        outside = batch.masks[wrong] == 0
        logits[wrong] = torch.where(outside, logits[wrong] + 9, logits[wrong])
        assert torch.equal(module._loss(logits, batch), before)
        train(load_recipe(disks_recipe, [*words, "augmentation.mosaic=0.5"]), disks, tmp_path / "run")

    def test_one_without_the_other_is_refused(self, disks_recipe):
        with pytest.raises(ValueError, match=r"prompts\.opposed and loss\.opposition go together"):
            load_recipe(disks_recipe, ["prompts.opposed=true"])
        assert LossConfig().opposition == 0


class TestAbsent:
    def test_what_is_absent_comes_from_all_kinds_of_scans_with_places_and_sizes_too(self, disks, disks_recipe):
        items = read_items(load_recipe(disks_recipe), disks, VOCABULARY)["train"]
        config = PromptConfig(absent=0.9, absent_same=0.3, absent_described=0.5)
        prompter, rng = Prompter(config, VOCABULARY, TRAINED), np.random.default_rng(5)
        prompts = [p for _ in range(600) for p in prompter.sample(items[0], {"polyp": disk(9, 9, 5)}, rng)]
        asked = [parse(p.text, VOCABULARY).attributes for p in prompts if p.target is None]
        named = Counter(said.target for said in asked)
        assert {"cell nuclei", "lungs", "left lung", "right lung", "foot ulcer"} <= set(named) and "polyp" not in named
        described = [said.target for said in asked if said.location]
        assert len(described) > 50 and not {"lungs", "left lung", "right lung"} & set(described)


class TestMemory:
    def test_scans_are_read_once_and_are_the_same(self, disks, disks_recipe, monkeypatch):
        item = read_items(load_recipe(disks_recipe), disks, VOCABULARY)["train"][0]
        kept, read = ResizedScans(32, True), ResizedScans(32, False)
        first, masks = kept.image(item), kept.masks(item)
        assert np.abs(first - read.image(item)).max() <= 0.5 / 255 + 1e-6
        assert ((read.masks(item)["polyp"] > 0.5) == masks["polyp"]).all()
        for path in (item.image, *item.mask_paths):
            path.unlink()
        assert (kept.image(item) == first).all() and (kept.masks(item)["polyp"] == masks["polyp"]).all()
