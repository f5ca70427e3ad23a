"""Recommend texts, and learn to classify them from examples: captions of drawn scenes, offline.

Needs clipkit[learn]. python examples/texts_like_these.py
"""

import tempfile
from pathlib import Path

import clipkit
from clipkit import sketch
from clipkit.neighbours import recommend
from clipkit.probe import Probe, fit

captions = [sketch.caption(sketch.scene(seed)) for seed in range(200)]
places = [caption.split()[-1] for caption in captions]  # sea, sky, meadow, ...

with tempfile.TemporaryDirectory() as work:
    collection = clipkit.Collection.create("captions", db=work, encoder="bundled")
    collection.add_texts(captions, ids=[str(number) for number in range(200)])
    print("liked:", captions[0])
    for diversity in (0.0, 0.6):
        hits = recommend(collection, ["0"], k=3, diversity=diversity)
        print(f"diversity {diversity}:", *(hit.text for hit in hits), sep="\n   ")

    encoder = collection.encoder
    probe = fit(encoder, encoder.encode_texts(captions), places)
    path = Path(work, "places.safetensors")
    probe.save(path)
    print(f"classes: {probe.scores.accuracy:.2f} right of unseen captions, {probe.scores.folds} folds")
    (told,) = Probe.load(path).predict_texts(encoder, ["a yellow dog runs about in the snow"])
    print(f"   'a yellow dog runs about in the snow': {told.label} ({told.probability:.2f})")
