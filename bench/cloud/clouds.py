"""The data folders of the comparison: real clouds in two parts, `train` and `test`, by their order within a class (links, nothing is copied)."""

import subprocess
from pathlib import Path

BIMNET = ["balcony", "beam", "column", "door", "fence", "floor", "roof", "stairs", "wall", "window"]


def split(classes: Path, out: Path, every: int) -> None:
    """`classes` is <class>/<file>. One cloud in `every` of a class, the first among them, is a test cloud."""
    for folder in sorted(path for path in classes.iterdir() if path.is_dir()):
        for place, cloud in enumerate(sorted(folder.glob("*.ply"))):
            link = out / ("train" if place % every else "test") / folder.name / cloud.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(cloud.resolve())


def prepare(program: Path, shared: Path, out: Path) -> dict[str, Path]:
    """Name of a data set -> its folder."""
    if not (out / "bimnet10-classes" / "prepared.json").exists():
        subprocess.run([program, "prepare", "--data", shared / "bimnet10", "--out", out / "bimnet10-classes", "--quiet", "--set",
                        f"data.classes=[{','.join(BIMNET)}]"], check=True, capture_output=True)
    split(shared / "real-dales", out / "real-dales", 2)
    split(out / "bimnet10-classes", out / "bimnet10", 3)
    return {"cad-urban": shared / "cad-urban", "real-dales": out / "real-dales", "bimnet10": out / "bimnet10"}
