"""Agreement of a judge and a person for a terminal."""

from rich.console import Group, RenderableType
from rich.text import Text

from jurist.reports.agreement import Agreement
from jurist.reports.views.style import borderless, interval, label


def agreement_view(found: Agreement) -> Group:
    """Agreement and kappa, what both said how often, agreement by group, and how many labels are missing."""
    rows = borderless("", "value", "95% interval", "n")
    rows.add_row("agreement", f"{found.agree.value:.1%}", interval(found.agree.interval), f"{found.n:,}")
    if found.kappa is not None:
        low, high = found.kappa_interval or (found.kappa, found.kappa)
        rows.add_row("Cohen's kappa", f"{found.kappa:.2f}", f"{low:.2f} to {high:.2f}", "")
    parts: list[RenderableType] = [rows, Text("")]
    said = borderless("answer", "judge", "person")
    for answer in sorted(found.judge.keys() | found.person.keys()):
        shares = (f"{counts.get(answer, 0) / found.n:.1%}" for counts in (found.judge, found.person))
        said.add_row(answer, *shares)
    parts.append(said)
    if found.groups:
        groups = borderless("group", "agreement", "95% interval", "n")
        for row in found.groups:
            groups.add_row(label(row.name), f"{row.value:.1%}", interval(row.interval), f"{row.n:,}")
        parts += [Text(""), groups]
    parts += [Text(""), *(Text(line, style="dim") for line in _notes(found))]
    return Group(*parts)


def _notes(found: Agreement) -> list[str]:
    lines: list[str] = []
    if found.kappa is None:
        lines.append("No kappa: judge and person give one and the same answer everywhere.")
    if found.unanswered:
        lines.append(f"{found.unanswered:,} labelled cases have no verdict and are left out.")
    if found.unknown:
        lines.append(f"{found.unknown:,} labels name cases that the run does not have.")
    width = f"{100 * found.width:g} points on either side"
    lines.append(
        f"About {found.more:,} more labels would make the interval of agreement {width}."
        if found.more
        else f"The interval of agreement is no wider than {width}."
    )
    return lines
