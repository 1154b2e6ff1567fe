"""The parts of a page of documentation: fenced blocks, prose, pictures, links."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Page:
    """A markdown file; `blocks` are (language, content) in order."""

    def __init__(self, name):
        self.path = ROOT / name
        self.text = self.path.read_text(encoding="utf-8")
        self.blocks = re.findall(r"^```(\w*)\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        self.prose = re.sub(r"^```.*?^```$", "", self.text, flags=re.MULTILINE | re.DOTALL)

    def of(self, language):
        return [content for kind, content in self.blocks if kind == language]

    @property
    def pictures(self):
        return re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", self.prose)

    @property
    def links(self):
        return re.findall(r"(?<!!)\[[^\]]+\]\(([^)]+)\)", self.prose)

    @property
    def formulas(self):
        """Formulas with their results: ``4 / 2 × 8 × 1² = 16``."""
        pattern = r"(?<![\w(])(\d[\d ()/×+²³-]*\d[²³]?) = (\d{1,3}(?:,\d{3})+|\d+)(?! L)"
        return re.findall(pattern, self.prose)


def worked_out(formula):
    """The value of a formula of digits and signs."""
    for sign, python in (("×", "*"), ("²", "**2"), ("³", "**3")):
        formula = formula.replace(sign, python)
    assert re.fullmatch(r"[\d ()/*+-]+", formula), formula
    return eval(formula)
