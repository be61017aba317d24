"""The drawn graph: as many layers, sums and ends as the network has."""

import re
from html.parser import HTMLParser

from minicnn import models
from minicnn.instruments.graph import dot, graph_page


def test_the_graph_of_a_residual_network():
    text = dot(lambda: models.create("resnet20_cifar10"), (3, 32, 32), 'a "net"')
    assert text.startswith('digraph "a \\"net\\"" {') and text.count("{") == text.count("}") == 1
    nodes = re.findall(r'^  (n\d+) \[label="(.*)\\n(\w+)"\];$', text, re.M)
    edges = re.findall(r"^  (\w+) -> (\w+)", text, re.M)
    kinds = [kind for _, _, kind in nodes]
    assert kinds.count("conv2d") == 19 and kinds.count("linear") == 1 and kinds.count("add") == 9
    assert [a for a, _ in edges].count("image") == 1
    into = [b for _, b in edges]
    assert all(into.count(name) == (2 if kind == "add" else 1) for name, _, kind in nodes)
    assert {"layer2.0.conv1", "fc"} <= {path for _, path, _ in nodes}


class Balanced(HTMLParser):
    """Counts what is open, and the layers."""

    def __init__(self):
        super().__init__()
        self.depth = self.deepest = self.layers = 0

    def handle_starttag(self, tag, attributes):
        self.depth += tag == "details"
        self.deepest = max(self.depth, self.deepest)
        self.layers += ("class", "layer") in attributes

    def handle_endtag(self, tag):
        self.depth -= tag == "details"
        assert self.depth >= 0


def test_the_page_nests_as_the_modules_do():
    page = graph_page(models.resnet20_cifar10, (3, 32, 32), "ResNet-20 <script>")
    read = Balanced()
    read.feed(page)
    assert read.depth == 0 and read.deepest == 2 and read.layers > 40
    assert "<script>" not in page and "http" not in page
    assert "269,722 parameters" in page and "layer3.2" in page
