"""The page: the answer first, then what it rests on, and last how to have it again."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from html import escape

import yaml

from orchestrator.horizon import sentences as horizon_sentences
from orchestrator.pages import Facts, Paragraph
from orchestrator.report import sentences, words
from orchestrator.report.findings import Groups
from orchestrator.report.html import markup
from orchestrator.report.html.quality import horizons_of
from orchestrator.report.html.reproduce import training_command
from orchestrator.report.html.story import Story
from orchestrator.report.html.trials import MOST_AXES
from orchestrator.wording import count, number

Drawn = Mapping[str, str]
"""Figures as SVG by name."""


def page(story: Story, drawn: Drawn) -> str:
    """Return the whole page."""
    report = story.report
    parts = [
        search(story, drawn),
        lengths(story, drawn),
        settings(story, drawn),
        cost(story, drawn),
        baselines(story),
        origin(story),
        reproduction(story),
        elsewhere(story),
    ]
    body = "\n".join(part for part in parts if part)
    foot = f"<footer>Written by bptt at {moment(time.time())}.</footer>"
    whole = "\n".join([head(story), markup.contents(body), body, foot])
    return markup.document(f"{report.name}: {report.workload}", whole)


def head(story: Story) -> str:
    """Answer the question, and say how sure that is."""
    report = story.report
    begun = sum(report.states.values())
    state = f"{report.state}, {begun} of {count(report.allowed, 'trial')} begun; {report.metric}, {report.direction}"
    sure = [block.text for block in sentences.advice(report) if isinstance(block, Paragraph)]
    return "\n".join(
        [
            "<header>",
            f"<h1>{escape(f'{report.name}: {report.workload}')}</h1>",
            markup.paragraph(words.answer(report), "answer"),
            *(markup.paragraph(each, "warning") for each in report.losses),
            *(markup.paragraph(each) for each in sure),
            markup.paragraph(f"The sweep is {state}.", "small"),
            "</header>",
        ]
    )


def search(story: Story, drawn: Drawn) -> str:
    """Show the trials: how the search went, and how each of them learnt."""
    report = story.report
    if not report.states:
        return ""
    better = "lower" if report.direction == "minimize" else "higher"
    return "\n".join(
        [
            markup.section(
                "history",
                "How the search went",
                markup.figure(
                    drawn.get("history"),
                    f"{report.metric} of each complete trial, in the order they were begun, and the best so far; "
                    f"{better} is better.",
                ),
                markup.blocks(words.trials(report)[2:]),
            ),
            markup.section(
                "learning",
                "How the trials learnt",
                markup.figure(
                    drawn.get("learning_curves"),
                    f"{report.metric} by sequence steps consumed. Trials that were pruned, broke down or are under way "
                    "are grey; values far out on the bad side are left out.",
                ),
            ),
        ]
    )


def lengths(story: Story, drawn: Drawn) -> str:
    """Show quality against truncation length."""
    report = story.report
    return markup.section(
        "truncation",
        "Which truncation length",
        markup.figure(
            drawn.get("truncation_lengths"),
            f"{report.metric} against truncation length. Hollow marks are trials; lines are what to expect with the "
            "other hyperparameters at their best, and bars a 90 % interval of it.",
        ),
        markup.blocks(sentences.curve(report), headed=True),
        markup.blocks(sentences.updates(report)),
        markup.blocks(words.groups("By cell type", "cell_type", report.cell_types, report)),
        markup.blocks(words.groups("By truncation length", "truncation_length", report.truncation_lengths, report)),
    )


def settings(story: Story, drawn: Drawn) -> str:
    """Show what else matters: hyperparameters, time and memory, and the gradient."""
    report, names = story.report, story.differing
    left_out = f" Not shown: {', '.join(names[MOST_AXES:])}." if len(names) > MOST_AXES else ""
    judged = " ".join(each.text for each in words.importance(report.importance) if isinstance(each, Paragraph))
    return "\n".join(
        [
            markup.section(
                "importance",
                "What matters",
                markup.figure(drawn.get("importances"), judged),
                "" if "importances" in drawn else markup.paragraph(judged),
            )
            if story.values
            else "",
            markup.section(
                "settings",
                "Settings side by side",
                markup.figure(
                    drawn.get("parallel_coordinates"),
                    f"Each line is a complete trial, from its {report.metric} through its setting; the better, the "
                    f"stronger.{left_out}",
                    wide=len(names) > 3,
                ),
            ),
            fronts(story, drawn),
            horizon(story, drawn),
        ]
    )


def fronts(story: Story, drawn: Drawn) -> str:
    """Show what quality costs, in time and in memory."""
    return "\n".join(
        markup.section(
            f"front-{found.cost}",
            words_of_front(found.cost),
            markup.figure(
                drawn.get(f"quality_for_{found.cost}"),
                "Complete trials by cost and quality; circled and joined are those that no other one beats in both "
                "(Pareto).",
            ),
            markup.blocks(sentences.front(found, story.report), headed=True),
        )
        for found in story.report.fronts
    )


def words_of_front(kind: str) -> str:
    """Return the title of a front."""
    return {"seconds": "Quality for its training time", "memory": "Quality for its peak memory"}[kind]


def horizon(story: Story, drawn: Drawn) -> str:
    """Show how far gradients travel, of the best trial and the best of each other cell type."""
    found = horizons_of(story)
    rows = [(name, " ".join(horizon_sentences(each))) for name, each in found.items()]
    return markup.section(
        "horizon",
        "How far gradients travel",
        markup.figure(
            drawn.get("horizons"),
            "Left: the gradient by steps back, as part of its largest; dotted, 1 %. Right: the part of the gradient "
            "that a truncation would lose; dotted, 10 %.",
            wide=True,
        ),
        markup.blocks([Facts(rows)] if rows else []),
        markup.blocks(sentences.horizon(story.report), headed=True),
    )


def cost(story: Story, drawn: Drawn) -> str:
    """Show who trained what when, and what was used up."""
    return "\n".join(
        [
            markup.section(
                "timeline",
                "Which worker trained which trial",
                markup.figure(
                    drawn.get("timeline"),
                    "A row for each worker, a bar for each stretch of a trial, with the trial's number where there is "
                    "room. Crosses: a worker, a machine, a checkpoint or the driver was lost.",
                    wide=True,
                ),
                markup.blocks(words.timeline(story.report), headed=True),
            ),
            markup.section("cost", "Cost", markup.blocks(words.cost(story.report), headed=True)),
        ]
    )


def baselines(story: Story) -> str:
    """Set the winner beside what needs no training."""
    report = story.report
    judged = [found.beaten for found in report.baselines if found.beaten is not None]
    verdict = ""
    if judged:
        verdict = f"The best trial beats its baselines by {sum(judged)} of {count(len(judged), 'metric')}."
    return markup.section(
        "baselines",
        "Beside baselines",
        markup.paragraph(verdict) if verdict else "",
        markup.blocks(words.baselines(report), headed=True),
        *(markup.blocks(words.by_group(found)) for found in report.groups if not is_of_horizon(found)),
    )


def is_of_horizon(found: Groups) -> bool:
    """Tell whether a group's metrics are the gradient horizon's, which has a figure."""
    return all(name.startswith("horizon_") for metrics in found.members.values() for name in metrics)


def origin(story: Story) -> str:
    """Say what it was made from: the data, the versions, the sweep file."""
    known = story.environment.get("versions", {})
    spec = yaml.safe_dump(story.seen.spec.plain(), sort_keys=False, allow_unicode=True)
    return "\n".join(
        [
            markup.section("data", "Data", markup.blocks(words.data(story.report), headed=True)),
            markup.section("versions", "Versions", markup.blocks([Facts(list(known.items()))] if known else [])),
            markup.section(
                "spec",
                "The sweep file",
                markup.folded("Every option, defaults written out", markup.code(spec, "spec-yaml")),
            ),
        ]
    )


def reproduction(story: Story) -> str:
    """Show the winner's whole setting, and the command that trains it again."""
    command, report = training_command(story), story.report
    if command is None or report.best is None:
        return ""
    text = (
        f"This trains the winner, trial {report.best['trial']}, again, and comes to the same {report.metric}, "
        f"{number(report.best['value'])} ({report.best['value']!r}), on the same kind of CPU with the versions above. "
        "Paths in it are relative to the folder that the sweep was run in."
    )
    again = "With the sweep file above saved as sweep.yaml, this runs the whole sweep again:"
    return markup.section(
        "reproduce",
        "How to reproduce",
        markup.paragraph(text),
        markup.code(command, "train-command"),
        markup.paragraph(again),
        markup.code("bptt run sweep.yaml", "run-command"),
        markup.blocks(words.best(report)),
    )


def elsewhere(story: Story) -> str:
    """Say where runs and model are, and the commands that lead there: a file does not know at which address."""
    report = story.report
    runs = f"Every trial's metrics are in MLflow, in the experiment bptt/{story.seen.spec.workload.kind}."
    commands = [f"bptt ui {shlex.quote(report.name)}"]
    if report.model:
        runs += f" The winner is registered as {report.model}."
        commands.append(f"bptt models show {shlex.quote(report.model.removeprefix('models:/'))}")
    return markup.section(
        "elsewhere", "Runs and model", markup.paragraph(runs), markup.code("\n".join(commands), "elsewhere-commands")
    )


def moment(seconds: float) -> str:
    """Return a moment, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
