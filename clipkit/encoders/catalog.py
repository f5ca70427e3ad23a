"""Model cards: data, not code."""

from __future__ import annotations


def aliases() -> dict[str, str]:
    """What each alias stands for."""
    return {
        "fast": "ViT-B-32-256/datacomp_s34b_b86k",
        "best": "ViT-SO400M-14-SigLIP-384/webli",
        "multilingual": "ViT-B-16-SigLIP-i18n-256/webli",
    }
