"""The suite; a package, so that test modules say `from tests.oracles import ...`."""
