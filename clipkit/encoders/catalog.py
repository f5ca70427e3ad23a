"""Model cards: data, not code. What is known of the models worth choosing from, and who published it.

Figures are copied from their sources and never estimated; what no source states is None. The aliases were
chosen in this order: a licence that allows any use, recall in image-text retrieval, size, languages.
MobileCLIP, DFN (Apple's research licence) and MetaCLIP, NLLB-CLIP (CC-BY-NC) were left out for theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from clipkit.errors import UnknownModel, did_you_mean

# Where figures come from; the hexadecimal number is the commit that was read.
RESULTS = "open_clip, docs/openclip_results.csv, 0a1cc15"
RETRIEVAL = "open_clip, docs/openclip_retrieval_results.csv, 05e7db4"
MULTILINGUAL = "open_clip, docs/openclip_multilingual_retrieval_results.csv, 100bcbd"
OPENCLIP_README = "open_clip, README.md, table of zero-shot results"
SIGLIP2 = "big_vision, configs/proj/image_text/README_siglip2.md, 1659d42 (its own evaluation)"
MOBILECLIP2 = "apple/MobileCLIP2-B model card, table of checkpoints"

ENGLISH = "English"
WEBLI = "multilingual: trained on alt-texts in 109 languages (WebLI)"


@dataclass(frozen=True, slots=True)
class Score:
    """A published figure in percent, and where it is published."""

    percent: float
    source: str


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What to know before choosing a model.

    `name` is its alias, or else its `spec`. `dim` is the length of its vectors, `image_size` the edge in
    pixels that pictures are reduced to, `context_length` in tokens. `parameters` counts both towers;
    `download_mb` is the weights file in 10^6 bytes: on the hub they are stored in 4 bytes each. `needs` names
    the extra to install. Scores: `imagenet` is zero-shot top-1; the others are recall@1 on MS-COCO (5,000
    images) and on Crossmodal-3600 (mean of 36 languages), from text to image or from image to text.
    """

    name: str
    spec: str
    repo: str
    licence: str
    languages: str
    dim: int
    image_size: int
    context_length: int
    parameters: int
    note: str
    imagenet: Score | None = None
    coco_text_to_image: Score | None = None
    coco_image_to_text: Score | None = None
    xm3600_text_to_image: Score | None = None
    xm3600_image_to_text: Score | None = None
    needs: str | None = None
    modalities: frozenset[str] = frozenset({"text", "image"})

    @property
    def download_mb(self) -> int:
        return round(self.parameters * 4 / 1e6)


_CARDS = (
    ModelCard(
        name="fast",
        spec="ViT-B-32-256/datacomp_s34b_b86k",
        repo="laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
        licence="MIT",
        languages=ENGLISH,
        dim=512,
        image_size=256,
        context_length=77,
        parameters=151_288_833,
        note="The best ViT-B/32 with a permissive licence and without further packages.",
        imagenet=Score(72.81, RESULTS),
        coco_text_to_image=Score(39.93, RETRIEVAL),
        coco_image_to_text=Score(57.92, RETRIEVAL),
    ),
    ModelCard(
        name="best",
        spec="ViT-SO400M-16-SigLIP2-384/webli",
        repo="timm/ViT-SO400M-16-SigLIP2-384",
        licence="Apache-2.0",
        languages=WEBLI,
        dim=1152,
        image_size=384,
        context_length=64,
        parameters=1_136_039_602,
        note="Within 0.1 of the highest text-to-image recall published, at 60% of that model's size.",
        imagenet=Score(84.1, SIGLIP2),
        coco_text_to_image=Score(56.0, SIGLIP2),
        coco_image_to_text=Score(71.2, SIGLIP2),
        needs="text",
    ),
    ModelCard(
        name="multilingual",
        spec="ViT-B-16-SigLIP2-256/webli",
        repo="timm/ViT-B-16-SigLIP2-256",
        licence="Apache-2.0",
        languages=WEBLI,
        dim=768,
        image_size=256,
        context_length=64,
        parameters=375_234_050,
        note="The smallest step up from `fast` in both recall and languages; a third of the size of `best`.",
        imagenet=Score(79.1, SIGLIP2),
        coco_text_to_image=Score(53.2, SIGLIP2),
        coco_image_to_text=Score(69.7, SIGLIP2),
        needs="text",
    ),
    ModelCard(
        name="ViT-B-32-SigLIP2-256/webli",
        spec="ViT-B-32-SigLIP2-256/webli",
        repo="timm/ViT-B-32-SigLIP2-256",
        licence="Apache-2.0",
        languages=WEBLI,
        dim=768,
        image_size=256,
        context_length=64,
        parameters=376_856_066,
        note="Images about as fast as with `fast`, higher recall, more languages; a larger download.",
        imagenet=Score(74.0, SIGLIP2),
        coco_text_to_image=Score(47.2, SIGLIP2),
        coco_image_to_text=Score(63.7, SIGLIP2),
        needs="text",
    ),
    ModelCard(
        name="ViT-gopt-16-SigLIP2-384/webli",
        spec="ViT-gopt-16-SigLIP2-384/webli",
        repo="timm/ViT-gopt-16-SigLIP2-384",
        licence="Apache-2.0",
        languages=WEBLI,
        dim=1536,
        image_size=384,
        context_length=64,
        parameters=1_871_885_426,
        note="The highest published recall of all; for a GPU.",
        imagenet=Score(85.0, SIGLIP2),
        coco_text_to_image=Score(56.1, SIGLIP2),
        coco_image_to_text=Score(72.8, SIGLIP2),
        needs="text",
    ),
    ModelCard(
        name="ViT-SO400M-14-SigLIP-384/webli",
        spec="ViT-SO400M-14-SigLIP-384/webli",
        repo="timm/ViT-SO400M-14-SigLIP-384",
        licence="Apache-2.0",
        languages=ENGLISH,
        dim=1152,
        image_size=384,
        context_length=64,
        parameters=877_960_498,
        note="What many used before SigLIP 2; leads open_clip's own retrieval table.",
        imagenet=Score(83.1, OPENCLIP_README),
        coco_text_to_image=Score(54.21, RETRIEVAL),
        coco_image_to_text=Score(72.42, RETRIEVAL),
        needs="text",
    ),
    ModelCard(
        name="ViT-L-14/datacomp_xl_s13b_b90k",
        spec="ViT-L-14/datacomp_xl_s13b_b90k",
        repo="laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        licence="MIT",
        languages=ENGLISH,
        dim=768,
        image_size=224,
        context_length=77,
        parameters=427_616_513,
        note="A middle size without further packages.",
        imagenet=Score(79.21, RESULTS),
        coco_text_to_image=Score(45.73, RETRIEVAL),
        coco_image_to_text=Score(63.30, RETRIEVAL),
    ),
    ModelCard(
        name="ViT-H-14/laion2b_s32b_b79k",
        spec="ViT-H-14/laion2b_s32b_b79k",
        repo="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
        licence="MIT",
        languages=ENGLISH,
        dim=1024,
        image_size=224,
        context_length=77,
        parameters=986_109_441,
        note="The highest recall here without further packages.",
        imagenet=Score(77.96, RESULTS),
        coco_text_to_image=Score(49.48, RETRIEVAL),
        coco_image_to_text=Score(65.92, RETRIEVAL),
    ),
    ModelCard(
        name="xlm-roberta-large-ViT-H-14/frozen_laion5b_s13b_b90k",
        spec="xlm-roberta-large-ViT-H-14/frozen_laion5b_s13b_b90k",
        repo="laion/CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k",
        licence="MIT",
        languages="multilingual: the languages of XLM-RoBERTa",
        dim=1024,
        image_size=224,
        context_length=77,
        parameters=1_193_010_000,  # docs/model_profile.csv, 3b37473: 1193.01 million
        note="The one permissive model with published recall per language; weak in Bengali, Swahili, Telugu.",
        imagenet=Score(76.95, RESULTS),
        coco_text_to_image=Score(49.21, RETRIEVAL),
        coco_image_to_text=Score(65.96, RETRIEVAL),
        xm3600_text_to_image=Score(50.22, MULTILINGUAL),
        xm3600_image_to_text=Score(53.38, MULTILINGUAL),
        needs="text",
    ),
    ModelCard(
        name="MobileCLIP2-S0/dfndr2b",
        spec="MobileCLIP2-S0/dfndr2b",
        repo="timm/MobileCLIP2-S0-OpenCLIP",
        licence="Apple AMLR: research only",
        languages=ENGLISH,
        dim=512,
        image_size=256,
        context_length=77,
        parameters=74_835_073,
        note="The smallest. Its card gives no COCO recall.",
        imagenet=Score(71.5, MOBILECLIP2),
    ),
    ModelCard(
        name="ViT-L-14/openai",
        spec="ViT-L-14/openai",
        repo="timm/vit_large_patch14_clip_224.openai",
        licence="MIT",
        languages=ENGLISH,
        dim=768,
        image_size=224,
        context_length=77,
        parameters=427_616_513,
        note="OpenAI's own; for vectors that match those of other tools.",
        imagenet=Score(75.54, RESULTS),
        coco_text_to_image=Score(36.51, RETRIEVAL),
        coco_image_to_text=Score(56.34, RETRIEVAL),
    ),
    ModelCard(
        name="ViT-B-32/openai",
        spec="ViT-B-32/openai",
        repo="timm/vit_base_patch32_clip_224.openai",
        licence="MIT",
        languages=ENGLISH,
        dim=512,
        image_size=224,
        context_length=77,
        parameters=151_277_313,
        note="OpenAI's own, and the most widely used; for vectors that match those of other tools.",
        imagenet=Score(63.32, RESULTS),
        coco_text_to_image=Score(30.44, RETRIEVAL),
        coco_image_to_text=Score(50.12, RETRIEVAL),
    ),
)


def cards() -> tuple[ModelCard, ...]:
    """All cards, those with an alias first."""
    return _CARDS


def card(name: str) -> ModelCard:
    """The card of that alias or spec. Raises UnknownModel for another name, with those closest to it."""
    for found in _CARDS:
        if name in (found.name, found.spec):
            return found
    raise UnknownModel(f"there is no card of {name!r}. {did_you_mean(name, (c.name for c in _CARDS))}")


def aliases() -> dict[str, str]:
    """What each alias stands for: "fast" and its like, to specs."""
    return {found.name: found.spec for found in _CARDS if found.name != found.spec}
