"""Writes tiny_imagenet_queries.json: 20 queries that are hypernyms, and the classes each is right for.

    python -m tests.bench.hypernyms tiny-imagenet-val.parquet > tests/bench/tiny_imagenet_queries.json

A query is right for every class that WordNet puts below one of its synsets. The queries were chosen before
any model was measured: everyday words, for two classes or more, where WordNet and everyday English agree.
Left out are "a ball" (WordNet counts the punching bag), "furniture" (not the chest), "a bottle" (the jug), "a
spider" and "a musical instrument" (photos of webs show spiders, photos of drumsticks drums). Where the two
part slightly, SYNSETS says how it is settled.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pyarrow.parquet as pq

from .train_bundled.wordnet import WordNet

# query: offsets in data.noun of WordNet 3.0 (a wnid is n and the offset)
SYNSETS = {
    "an animal": (15388,),
    "a dog": (2084071,),
    "a house cat": (2121808,),
    "a bird": (1503061,),
    "an insect": (2159955,),
    "a butterfly": (2274259,),
    "a hoofed animal": (2370806,),  # ungulate: hog, ox, bison, bighorn, gazelle, camel
    "a primate": (2469914,),
    "an amphibian": (1627424,),
    "a reptile": (1661091,),
    "a lobster": (1982650,),
    "food": (
        21265,
        7555863,
    ),  # what is eaten and, of its two synsets, that of solid food: drinks are food there
    "fruit": (13134947,),  # with the acorn, which is one to a botanist only
    "clothing": (3051540, 4133789),  # and the sandal: WordNet has socks under clothing, shoes under coverings
    "a vehicle": (
        3100490,
    ),  # conveyance: WordNet has buses and trains under public transport, not under vehicle
    "a car": (2958343,),
    "a bus": (2924116,),
    "a boat": (2858304,),
    "a bridge": (2898711,),
    "a shop": (4202417,),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    options = parser.parse_args()
    wordnet = WordNet(options.wordnet)
    wnids = sorted(set(pq.read_table(options.data, columns=["wnid"])["wnid"].to_pylist()))
    above = {wnid: {int(wnid[1:])} | wordnet.above(int(wnid[1:])) for wnid in wnids}
    found = {query: [w for w in wnids if above[w] & set(offsets)] for query, offsets in SYNSETS.items()}
    lines = (f"  {json.dumps(query)}: {json.dumps(right)}" for query, right in found.items())
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
