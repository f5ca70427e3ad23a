"""Tag pictures with words of your own, and train a classifier from examples: drawn scenes, offline.

Needs clipkit[learn]. python examples/tag_pictures.py
"""

import tempfile
from pathlib import Path

import clipkit
from clipkit import labelled, labels, sketch
from clipkit.probe import train_probe
from clipkit.vocabulary import Vocabulary

PLACES = ("sea", "sky", "room", "desert", "night")

with tempfile.TemporaryDirectory() as work:
    for seed in range(80):
        scene = sketch.scene(seed)
        place = sketch.caption(scene).split()[-1]
        if place in PLACES:
            Path(work, "scenes", place).mkdir(parents=True, exist_ok=True)
            sketch.draw(scene, size=96).save(f"{work}/scenes/{place}/{seed}.png")

    collection = clipkit.Collection.create("scenes", db=f"{work}/db", encoder="bundled")
    collection.index(f"{work}/scenes")
    tagged = labels.tag(collection, Vocabulary.of(PLACES), threshold=2.5, top=1)
    labels.to_column(collection, tagged)
    for place in PLACES:
        count = collection.count(where=f"array_has(tags, '{place}')")
        right = collection.count(where=f"array_has(tags, '{place}') AND contains(uri, '/{place}/')")
        print(f"{place}: {count} tagged, {right} rightly")

    probe = train_probe(collection.encoder, labelled.open_labelled(f"{work}/scenes")).probe
    probe.save(f"{work}/places.probe")
    print(
        f"classifier: {probe.scores.accuracy:.2f} ± {probe.scores.accuracy_sd:.2f} of {probe.classes} right"
    )
