"""``args.toml`` that is broken, forged or something else: refused by name, whatever it says."""

import pytest

from minicnn.errors import ArgumentError, DeviceError, MinicnnError
from minicnn.train import TrainArgs, resumed_run
from tests.train.hostile import NO_FILES, no_file, refused, unix_only


def check(tmp_path, content, error=ArgumentError):
    path = tmp_path / "args.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return refused(lambda: resumed_run(tmp_path, quiet=True), error, path)


SYNTAX = [
    *("[args", "args]", "[args]\nlr", "[args]\nlr =", "[args]\nlr = 0.1 0.2", "[args]\nlr = 0,1", "[args]\nlr: 0.1"),
    *(
        "[args]\n= 3",
        "[args]\nmodel = 'lenet5",
        '[args]\nmodel = "lenet5\n"',
        "[args]\nmodel = lenet5",
        "{}",
        "<args/>",
    ),
    *("[args]\nlr = .1", "[args]\nlr = 1.", "[args]\nepochs = 03", "[args]\nepochs = 0x", "[args]\nlr = 1e", "[[args"),
    *("[args]\naugment = True", "[args]\naugment = yes", "[args]\nlr = {", '{"args": {"lr": 0.1}}', "---\nargs: 1"),
    *("[args]\nlr = 0.1; epochs = 3", '[args]\nmodel = "\\q"', '[args]\nmodel = "\\ud800"', "=", "["),
]


@pytest.mark.parametrize("text", SYNTAX, ids=repr)
def test_no_toml(tmp_path, text):
    assert "is not TOML" in check(tmp_path, text)


GOOD = b'[args]\nmodel = "lenet5"\n'
BYTES = [
    *(
        b"\xff\xfe" + GOOD.decode().encode("utf-16-le"),
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        b"\x80" + GOOD,
    ),
    *(
        GOOD + b"# \xff",
        GOOD + b'data = "\xc3"',
        b"\x00" * 100,
        GOOD + b"\x00",
        GOOD + b"# \x01",
        b"\xed\xa0\x80" + GOOD,
    ),
    *(
        b"\x1f\x8b\x08" + bytes(50),
        b"\x80\x04\x95" + bytes(50),
        b"PK\x03\x04" + bytes(50),
        b"\x89PNG\r\n\x1a\n",
        b"\xff" * 1000,
    ),
]


@pytest.mark.parametrize("content", BYTES, ids=lambda content: repr(content[:12]))
def test_no_text(tmp_path, content):
    assert "is not TOML" in check(tmp_path, content)


@pytest.mark.parametrize("share", [k / 20 for k in range(20)])
def test_truncated(tmp_path, share):
    """Most cuts break the grammar; one that does not leaves out options, and then says so of what is left."""
    path = tmp_path / "args.toml"
    TrainArgs(model="nosuch").write(path)
    content = path.read_bytes()
    check(tmp_path, content[: int(share * content.index(b"log"))] + b"\nlog =")


TABLES = [
    *(
        "",
        "# nothing",
        "\n\n",
        "lr = 0.1",
        "[facts]\nnumpy = '2'",
        "[arg]\nlr = 0.1",
        "[Args]\nlr = 0.1",
        "[args.more]",
    ),
    *("args = 1", "args = []", "args = 'lr'", "args = true", "args = 1979-05-27", "[[args]]", "[[args]]\nlr = 0.1"),
    *("[args.lr]\nvalue = 0.1", "['args ']\nlr = 0.1"),
]


@pytest.mark.parametrize("text", TABLES, ids=repr)
def test_no_table_of_options(tmp_path, text):
    check(tmp_path, text)


REPEATED = [
    *("[args]\nlr = 0.1\nlr = 0.2", "[args]\n[args]", "[args]\nlr = 0.1\n[args]\nlr = 0.1", "args = 1\n[args]"),
    *("[args]\nlr = 0.1\nlr.x = 1", "[args]\nlr = {x = 1}\n[args.lr]", "[args]\n[[args]]", "[args]\n'lr' = 1\nlr = 2"),
]


@pytest.mark.parametrize("text", REPEATED, ids=repr)
def test_said_twice(tmp_path, text):
    assert "is not TOML" in check(tmp_path, text)


UNKNOWN = [
    *(
        ("learning_rate", ""),
        ("LR", ""),
        ("epoch", "epochs"),
        ("batchsize", "batch_size"),
        ("weight-decay", "weight_decay"),
    ),
    *(("optimiser", "optimizer"), ("momentun", "momentum"), ("", ""), ("lr ", "lr"), ("__class__", ""), ("self", "")),
    *(("post_init", ""), ("0", ""), ("a" * 1000, ""), ("ärgs", ""), ("workers.count", ""), ("size\\n", "size")),
]


@pytest.mark.parametrize(("name", "near"), UNKNOWN)
def test_unknown_options(tmp_path, name, near):
    text = check(tmp_path, f'[args]\n"{name}" = 1\n')
    assert "unknown option" in text and (not near or f"did you mean {near!r}?" in text)


KINDS = {
    "table": "{a = 1}",
    "list": "[1]",
    "date": "1979-05-27",
    "time": "07:32:00",
    "moment": "1979-05-27T07:32:00Z",
}
NUMBERS = KINDS | {"text": "'1'", "switch": "true"}
WHOLE = NUMBERS | {"fraction": "1.5"}
WRONG_TYPES = [
    *(("epochs", WHOLE[kind]) for kind in WHOLE),
    *(("batch_size", WHOLE[kind]) for kind in ("text", "switch", "fraction", "list")),
    *(("seed", WHOLE[kind]) for kind in ("text", "switch", "fraction", "table")),
    *(("workers", WHOLE[kind]) for kind in ("text", "switch", "fraction")),
    *(("lr", NUMBERS[kind]) for kind in NUMBERS),
    *(("ema", NUMBERS[kind]) for kind in ("text", "switch", "list")),
    *(("augment", value) for value in ("1", "0", "'true'", "[]")),
    *(("model", value) for value in ("1", "true", "['lenet5']", "1979-05-27")),
    *(("checkpoint_every", value) for value in ("60", "true", "1.5")),
]


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_values_of_another_type(tmp_path, name, value):
    assert f"{name}=" in check(tmp_path, f"[args]\n{name} = {value}\n")


HUGE = "9" * 1000
RANGES = [
    *(("epochs", "0"), ("epochs", "-1"), ("epochs", "1000001"), ("epochs", "9223372036854775807"), ("epochs", HUGE)),
    *(
        ("batch_size", "0"),
        ("batch_size", "-64"),
        ("batch_size", HUGE),
        ("size", "-1"),
        ("size", "4097"),
        ("size", HUGE),
    ),
    *(("seed", "-1"), ("seed", "18446744073709551616"), ("workers", "-1"), ("workers", "257"), ("workers", HUGE)),
    *(("warmup_epochs", "-1"), ("warmup_epochs", HUGE), ("lr", "0"), ("lr", "-0.1"), ("lr", "nan"), ("lr", "inf")),
    *(("lr", "-inf"), ("lr", "1e39"), ("lr", HUGE), ("lr", "1e400"), ("momentum", "1"), ("momentum", "-0.1")),
    *(("momentum", "nan"), ("momentum", HUGE), ("weight_decay", "-1"), ("weight_decay", "inf"), ("weight_decay", HUGE)),
    *(("label_smoothing", "1.0"), ("label_smoothing", "nan"), ("ema", "1"), ("ema", "-1"), ("ema", "inf")),
]


@pytest.mark.parametrize(("name", "value"), RANGES, ids=lambda value: value[:20])
def test_values_out_of_range(tmp_path, name, value):
    assert f"{name}=" in check(tmp_path, f"[args]\n{name} = {value}\n")


NAMES = [
    *(("optimizer", "sdg"), ("optimizer", ""), ("optimizer", "SGD"), ("schedule", "cosin"), ("schedule", "none")),
    *(
        ("log", "cvs"),
        ("log", "csv,,nope"),
        ("log", "csv;steps"),
        ("checkpoint_every", ""),
        ("checkpoint_every", "60m"),
    ),
    *(
        ("checkpoint_every", "-5"),
        ("checkpoint_every", "1.5s"),
        ("checkpoint_every", "9" * 20),
        ("checkpoint_every", "s"),
    ),
    *(
        ("checkpoint_every", "\u0661s"),
        ("checkpoint_every", " 60s"),
        ("model", "nosuch"),
        ("model", ""),
        ("model", "lenet"),
    ),
    *(
        ("model", "../lenet5"),
        ("model", "lenet5\\u0000"),
        ("model", "os.system"),
        ("data", "nosuch"),
        ("data", "digit"),
    ),
    *(("device", "gpuu"), ("device", ""), ("device", "cuda:x"), ("device", "cuda:-1"), ("device", "CPU ")),
]


@pytest.mark.parametrize(("name", "value"), NAMES)
def test_names_that_nothing_has(tmp_path, name, value):
    error = (ArgumentError, DeviceError) if name == "device" else ArgumentError if name != "data" else MinicnnError
    check(tmp_path, f'[args]\n{name} = "{value}"\n', error)


BOMBS = [
    *("[args]\nlr = " + "[" * 10**5, "[args]\nlr = " + "{a=" * 10**4, "[args]\nseed = " + "9" * 10**5),
    *("[args]\nmodel = '" + "x" * 10**5 + "'", "[args]\nlr = 0." + "1" * 10**5 + "x", "[" + "a." * 3000 + "a]"),
    *(
        "[args]\nlr = 1e" + "9" * 10**4,
        "[args]\n" + "x" * 10**5 + " = 1",
        "[" * 10**5,
        "[args]\nlr = " + "[[]," * 10**4,
    ),
]


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: repr(text[:24]))
def test_bombs(tmp_path, text):
    check(tmp_path, text)


@unix_only
@pytest.mark.parametrize("kind", [kind for kind in NO_FILES if kind != "zeros"])  # text is read to its end
def test_no_file_at_all(tmp_path, kind):
    path = tmp_path / "args.toml"
    no_file(path, kind)
    refused(lambda: resumed_run(tmp_path, quiet=True), ArgumentError, path)
    if kind != "pipe":
        refused(lambda: TrainArgs.read(path), ArgumentError, path)
