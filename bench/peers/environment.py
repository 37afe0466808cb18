"""The peers' Python environment: a venv made from the two requirements files, made again when they change."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
NO_DEPENDENCIES = HERE / "requirements-no-deps.txt"
SUPPORTED = ((3, 10), (3, 12))  # versions that every pinned package has wheels for


def enter(folder: Path) -> None:
    """Makes the environment where it is missing or stale, and starts the running script over inside it."""
    if Path(sys.prefix).resolve() == folder.resolve():
        return
    python = folder / "bin" / "python"
    stamp = folder / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + NO_DEPENDENCIES.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        make(folder, python)
        stamp.write_text(wanted)
    os.execv(python, [str(python), *sys.argv])


def make(folder: Path, python: Path) -> None:
    if not SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1]:
        low, high = (".".join(map(str, version)) for version in SUPPORTED)
        sys.exit(f"run.py: this is Python {sys.version.split()[0]}; the pinned peers have wheels for {low} to {high}")
    print(f"making the peers' environment in {folder} (several GB)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", REQUIREMENTS], check=True)
    subprocess.run([*pip, "--no-deps", "-r", NO_DEPENDENCIES], check=True)
