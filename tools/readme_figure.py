"""Make the figure of the README from the example that compares pipelines.

Run as ``python tools/readme_figure.py``. It writes ``doc/_static/comparison.png``.
"""

import io
import runpy
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
from PIL import Image

ROOT = Path(__file__).parents[1]
FIGURE = ROOT / "doc" / "_static" / "comparison.png"


def main() -> None:
    """Run the example, whose data are simulated, and save its figure."""
    matplotlib.use("Agg")
    runpy.run_path(str(ROOT / "examples" / "plot_compare.py"))
    buffer = io.BytesIO()
    plt.gcf().savefig(buffer, dpi=110, bbox_inches="tight")
    # 64 colours take a third of the space
    Image.open(buffer).convert("RGB").quantize(64).save(FIGURE, optimize=True)


if __name__ == "__main__":
    main()
