"""Compute the field bank that people are simulated from.

    python tools/make_field_bank.py BANK.npz --entries 240

It needs MNE; about 1.2 s an entry. Components follow from the entries, unless those of
another bank are given: a trained encoder needs the components that it was trained with.
"""

import argparse

import numpy as np
from people._bank import make_bank, make_entry

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("bank")
parser.add_argument("--entries", type=int, default=240)
parser.add_argument("--first", type=int, default=0)
parser.add_argument("--like", help="a bank whose components are taken")

if __name__ == "__main__":
    args = parser.parse_args()
    entries = [make_entry(args.first + ii) for ii in range(args.entries)]
    like = None if args.like is None else dict(np.load(args.like))
    np.savez(args.bank, **make_bank(entries, like))
