import io

import pytest
from PIL import Image

from clipkit.errors import ImageError
from clipkit.images import open_image


def test_a_picture_comes_back_as_it_was_saved() -> None:
    picture = Image.effect_noise((7, 5), 50.0).convert("RGB")
    out = io.BytesIO()
    picture.save(out, "PNG")
    assert open_image(out.getvalue()).tobytes() == picture.tobytes()


def test_no_bytes_are_no_picture() -> None:
    with pytest.raises(ImageError, match=r"^is empty \(0 bytes\)$"):
        open_image(b"")
