"""The parts of the wheel and the bundle, beside the code itself.

`entry.py` becomes `partyline/__init__.py` in the wheel, `bundle.py` makes the archive for machines without a network,
and `install.sh` and `README.md` go into that archive. Nothing here runs in the checkout, but for `bundle.py`.
"""
