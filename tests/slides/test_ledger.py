"""The ledger of the slides: what is computed now is what was expected, and a slip of the counter is noticed."""

import json
import re
from collections import Counter

import pytest

from minicnn import slides
from minicnn.errors import ArgumentError
from minicnn.kernels import counting
from minicnn.slides import vocabulary
from minicnn.slides.expressions import computed
from minicnn.slides.numbers import printed, within
from tests.models.catalog import rows

# What the slides have wrong, worked out by hand.
CORRECTED = {
    # image, 2 convolutions and a pool a stage (3 from the third on), the linear layers; 4 bytes each
    "1-vgg16-memory": 4
    * (
        (224**2 * (3 + 64 + 64) + 112**2 * (64 + 128 + 128) + 56**2 * (128 + 3 * 256))
        + (28**2 * (256 + 3 * 512) + 14**2 * (512 + 3 * 512) + 7**2 * 512 + 4096 + 4096 + 1000)
    ),
    "1-inception-values": 28 * 28 * (128 + 192 + 96 + 256),
    "1-inception-before": 28 * 28 * 256 * (128 + 192 * 9 + 96 * 25),
    "1-inception-after": 28 * 28 * (256 * (64 + 64 + 128 + 64) + 192 * 9 * 64 + 96 * 25 * 64),
    "1-googlenet-parameters": 6_998_552,
    "1-googlenet-ratio": 8.71112,
    "1-resnet-decay": 1e-4,
    "1-resnet-initialisation": 2,
    "3-mobilenet-3x3-multiplications": round(100 * 112 * 112 * 27 * 32 / 568_740_352, 6),
    "3-mobilenet-4-1-conv-dw": "s1 3x3x1024 dw on 7x7x1024",
    "4-resnet-formula": 256,
    "4-normal-arrow": "8x8x256",
    "4-separable-arrow": "8x8x256",
    "4-convolution-arrow": "8x8x256",
    "4-efficientnet-smaller": round(60_192_808 / 7_794_184, 6),
    "4-efficientnet-phi": 0,
    "4-efficientnet-stage6": "14x14 112 3",
    "5-alexnet-second-pool1": "27x27x96",
    "5-vgg16-first-convolutions": round(100 * (1728 + 36_864 + 73_728 + 147_456) / 138_344_128, 6),
}


@pytest.fixture(scope="module")
def found():
    return {finding.claim.key: finding for finding in slides.findings()}


def test_everything_computed_is_as_expected(found):
    assert [finding for finding in found.values() if not finding.agrees] == []
    assert len(found) >= 350 and len({finding.claim.compute for finding in found.values()}) >= 200
    assert {key for key, finding in found.items() if "error" in finding.claim.verdict} == {
        *CORRECTED,
        *("4-resnet-decay", "5-resnet-decay", "4-mobilenet-4-1-conv-dw"),
    }


@pytest.mark.parametrize("key", CORRECTED)
def test_what_the_slides_have_wrong(found, key):
    assert found[key].value == CORRECTED[key]
    assert "error" in found[key].claim.verdict and found[key].claim.why


def test_networks_have_the_counts_of_the_reference(found):
    checked = 0
    for finding in found.values():
        whole = re.fullmatch(r'(params|macs)\("([\w.]+)"\)', finding.claim.compute)
        if whole and whole[2] in rows():
            assert finding.claim.expected == getattr(rows()[whole[2]], whole[1])
            checked += 1
    assert checked > 20


def test_the_ledger_is_in_order():
    keys = Counter(claim.key for claim in slides.claims())
    assert max(keys.values()) == 1 and all(keys)
    for claim in slides.claims():
        assert claim.key.startswith(f"{claim.deck}-") and claim.quote and claim.says, claim.key
        assert claim.verdict in slides.VERDICTS and claim.is_computed == (claim.verdict != "needs data"), claim.key
        assert claim.why or claim.verdict in ("exact", "rounded"), claim.key
    assert all(slides.title(deck) for deck in slides.DECKS)


class Doubled:
    """The place of the counter's listener, which hears every multiply-add twice."""

    def __init__(self, place):
        self.set, self.reset, self.place = place.set, place.reset, place

    def get(self):
        listener = self.place.get()
        return None if listener is None else lambda op, macs: listener(op, 2 * macs)


def test_a_slip_of_the_counter_is_noticed(monkeypatch):
    monkeypatch.setattr(counting, "_listener", Doubled(counting._listener))
    monkeypatch.setattr(vocabulary, "_counted", vocabulary._counted.__wrapped__)  # nothing remembered from before
    wrong = {finding.claim.key for finding in slides.findings(2) if not finding.agrees}
    assert wrong == {"2-vgg19-flops", "2-plain34-flops", "2-resnet34-flops"}


def test_a_verdict_must_follow_from_the_numbers():
    claim = slides.claim("1-inception-naive")
    assert slides.verdict_holds(claim, 854_196_224) and not slides.verdict_holds(claim, 855_000_000)
    for verdict in ("exact", "slide error", "paper error", "needs data"):
        assert not slides.verdict_holds(claim._replace(verdict=verdict), 854_196_224)
    assert slides.verdict_holds(claim._replace(verdict="convention"), 854_196_224)
    assert not slides.find(claim._replace(expected=854_196_225)).agrees


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("60M", 60_000_000),
        ("1,728", 1728),
        ("25.5×10⁶", 25_500_000),
        ("94.86%", 94.86),
        ("12x", 12),
        ("19.6 billion", 19_600_000_000),
        ("0.00001", 1e-5),
        ("96MB", 96_000_000),
        ("55x55x96", "55x55x96"),
        ("5x5 stride 1", "5x5 stride 1"),
    ],
)
def test_numbers_as_printed(text, value):
    assert printed(text) == value and type(printed(text)) is type(value) and within(text, value)


@pytest.mark.parametrize(
    ("text", "near", "far"),
    [
        ("150K", 150_528, 160_001),
        ("529k", 528_100, 526_848),
        ("800K", 802_816, 900_000),
        ("25.5×10⁶", 25_557_032, 25_600_000),
        ("50x", 48.8, 60),
        ("7.6x", 7.65, 7.72),
        ("1.19%", 1.1899, 1.9056),
        ("27x27x96", "27x27x96", "227x227x96"),
        ("1000", 1000, 1001),
    ],
)
def test_as_far_as_the_last_digit_printed(text, near, far):
    assert within(text, near) and not within(text, far)


def test_expressions():
    assert computed("-2 + 3 * 4 ** 2 / 8 // 1") == (4.0, [])
    value, steps = computed('params("lenet5") - params("lenet5", "fc3")')
    assert value == 61_706 - 850 and [step.value for step in steps] == [61_706, 850]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "params",
        "().__class__",
        "[1]",
        "1 if 1 else 2",
        "lambda: 1",
        "params(*(1,))",
        "f'{1}'",
        "1 +",
    ],
)
def test_expressions_can_do_nothing_else(text):
    with pytest.raises(ArgumentError, match="slides: "):
        computed(text)


def test_unknown_claims_and_decks():
    with pytest.raises(ArgumentError, match="no claim is called '1-vgg-memory'; nearest: 1-vgg16-memory"):
        slides.claim("1-vgg-memory")
    with pytest.raises(ArgumentError, match="deck=6 is unknown, expected one of 1, 2, 3, 4, 5"):
        slides.claims(6)


def test_plain_data_is_json(found):
    assert json.loads(json.dumps([finding.value for finding in found.values()]))
