"""MkDocs hooks: pages that come from the code or from the repository's root.

Settings, steps and commands are described once, in the code. The pages about them are made when the site is built.
Root documents (README.md and others) are pages of the site as well; links in all pages are written for the repository
and are changed here to the site's addresses.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from scaling_tables import TABLES

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "explanation/architecture.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "SECURITY.md": "project/security.md",
}
"""File at the repository's root -> page of the site."""
_GENERATED = re.compile(r"<!-- generated: (\w+) -->")
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, the root documents and the plots of the benchmarks."""
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for plot in sorted((ROOT / "benchmarks").glob("*.png")):
        files.append(File.generated(config, f"benchmarks/{plot.name}", abs_src_path=str(plot)))
    for page, make in (("settings", settings_page), ("steps", steps_page), ("command_line", command_line_page)):
        files.append(File.generated(config, f"reference/{page}.md", content=make()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links between files of the repository at pages of the site."""
    source = page.file.src_uri
    markdown = _GENERATED.sub(lambda match: TABLES[match[1]](), markdown)
    written_in = {site: name for name, site in ROOT_PAGES.items()}.get(source, f"docs/{source}")

    def rewrite(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(written_in), target))
        place = ROOT_PAGES.get(path, path.removeprefix("docs/"))
        return before + posixpath.relpath(place, posixpath.dirname(source) or ".") + after

    return _LINK.sub(rewrite, markdown)


# Settings


def settings_page() -> str:
    """Every setting of a profile: a section for each table of the TOML file."""
    from curation_pipeline.config import Profile

    schema = Profile.model_json_schema()
    lines = [
        "# Settings",
        "A profile is a TOML file. Every setting that it may hold is here, with its default; a key that is not here is "
        "an error. Each section is a table of the file. `curation_pipeline/profiles/` has the shipped profiles.",
    ]
    for path, model, defaults in _tables(schema, schema["$defs"], "", {}):
        lines += [f"## {path or 'Top level'}", _text(model.get("description", ""))]
        if rows := list(_rows(model, defaults)):
            head = ["| setting | type | default | allowed | what it is |", "|---|---|---|---|---|"]
            lines.append("\n".join([*head, *rows]))
    return "\n\n".join(lines) + "\n"


def _tables(
    model: dict[str, Any], definitions: dict[str, Any], path: str, defaults: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each table of a profile, outer ones first: its path, its JSON schema and the defaults that hold there."""
    yield path, model, defaults
    for name, field in model["properties"].items():
        inner = f"{path}.{name}" if path else name
        default = defaults.get(name, field.get("default"))
        for reference, suffix in _references(field):
            target = definitions[reference]
            if default is None and "anyOf" in field:
                target = {**target, "description": f"{target['description']}\n\nWithout this table it is off."}
            known = default if isinstance(default, dict) else {}
            yield from _tables(target, definitions, inner + suffix(target), known)


def _references(field: dict[str, Any]) -> Iterator[tuple[str, Callable[[dict[str, Any]], str]]]:
    """The models that a field holds: their names, and what follows the field's path in a heading."""

    def plain(_: dict[str, Any]) -> str:
        return ""

    def kind(target: dict[str, Any]) -> str:
        constant = target["properties"].get("kind", {}).get("const")
        return f' (kind = "{constant}")' if constant else ""

    def named(schema: dict[str, Any]) -> str | None:
        return schema["$ref"].rpartition("/")[2] if "$ref" in schema else None

    if direct := named(field):
        yield direct, plain
    for choice in field.get("anyOf", ()):
        yield from _references(choice)
    items = field.get("items", {})
    for choice in (items, *items.get("oneOf", ()), *items.get("anyOf", ())):
        if reference := named(choice):
            yield reference, kind
    values = field.get("additionalProperties")
    if isinstance(values, dict) and (reference := named(values)):
        yield reference, lambda _: ".NAME"


def _rows(model: dict[str, Any], defaults: dict[str, Any]) -> Iterator[str]:
    required = model.get("required", ())
    for name, field in model["properties"].items():
        if any(True for _ in _references(field)) and "items" not in field:
            continue  # a table of its own
        default = "**required**" if name in required else _value(defaults.get(name, field.get("default")))
        cells = (f"`{name}`", _type(field), default, _allowed(field), _text(field.get("description", "")))
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field or "oneOf" in field:
        kinds = [_type(choice) for choice in (*field.get("anyOf", ()), *field.get("oneOf", ()))]
        return " or ".join(dict.fromkeys(kind for kind in kinds if kind != "nothing"))
    if "$ref" in field:
        return "table"
    match field.get("type"):
        case "array":
            inner: dict[str, Any] = field.get("items") or next(iter(field.get("prefixItems", ())), {})
            return f"list of {_type(inner)}" if inner else "list"
        case "object":
            values = field.get("additionalProperties")
            return f"table of {_type(values)}" if isinstance(values, dict) else "table"
        case None:
            return "text" if "enum" in field or "const" in field else "any"
        case kind:
            names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
            return {**names, "null": "nothing"}.get(str(kind), str(kind))


def _allowed(field: dict[str, Any]) -> str:
    parts = []
    for schema in (field, *field.get("anyOf", ()), field.get("items") or {}):
        if "enum" in schema:
            parts.append(", ".join(_value(value) for value in schema["enum"]))
        if "const" in schema:
            parts.append(_value(schema["const"]))
        words = {
            "minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
            "minLength": "at least {} characters", "maxLength": "at most {} characters",
            "minItems": "at least {} values", "maxItems": "at most {} values", "pattern": "matches `{}`",
        }  # fmt: skip
        parts += [said.format(schema[key]) for key, said in words.items() if key in schema]
    return "; ".join(parts)


def _text(description: str) -> str:
    """A docstring or description as Markdown."""
    return description.replace("``", "`").replace("<", "&lt;")


def _value(value: Any) -> str:
    """A value as TOML writes it."""
    match value:
        case None:
            return "absent"
        case bool():
            return f"`{str(value).lower()}`"
        case list() | tuple():
            return "`[" + ", ".join(_value(item).strip("`") for item in value) + "]`"
        case dict():
            inside = ", ".join(f"{key} = {_value(item).strip('`')}" for key, item in value.items())
            return "`{ " + inside + " }`" if inside else "`{}`"
        case str():
            return f"`{json.dumps(value, ensure_ascii=False)}`"
        case _:
            return f"`{value}`"


# Steps


def steps_page() -> str:
    """Every asset of the graph by group, as the Dagster UI shows it, with the table and the partitions of its step."""
    from assets.definitions import defs

    declared = _declared()
    groups: dict[str, list[Any]] = {}
    for spec in defs.resolve_all_asset_specs():
        groups.setdefault(spec.group_name or "", []).append(spec)
    lines = [
        "# Steps",
        "Each step is an asset of the Dagster graph. Here is what it makes, what it reads, and the version of its "
        "code: a change of version makes what was made before out of date.",
    ]
    for group, specs in sorted(groups.items()):
        lines.append(f"## {group}")
        for spec in sorted(specs, key=lambda spec: spec.key.to_user_string()):
            inputs = ", ".join(sorted({f"`{dep.asset_key.to_user_string()}`" for dep in spec.deps})) or "nothing"
            facts = [f"Reads {inputs}"]
            if step := declared.get(spec.key.path[-1]):
                facts.append(f"table `{step.table}`, one for {_PARTITION[step.partitioning]}")
            if spec.code_version:
                facts.append(f"version {spec.code_version}")
            if spec.kinds:
                facts.append("kinds: " + ", ".join(sorted(spec.kinds)))
            lines += [f"### {spec.key.to_user_string()}", _text(spec.description or ""), "; ".join(facts) + "."]
    return "\n\n".join(lines) + "\n"


_PARTITION = {
    "whole": "the project",
    "corpus": "each raw partition",
    "iteration": "each iteration",
    "run": "each arm and seed",
}
"""What one artefact of a step belongs to, by its partitioning."""


def _declared() -> dict[str, Any]:
    """The declarations of the steps by name."""
    from curation_pipeline.steps.registry import steps

    return dict(steps())


# Command line


def command_line_page() -> str:
    """Every command of `curate` with its arguments and options."""
    import typer.main
    from typer.cli import get_docs_for_click

    from curation_pipeline.cli import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="curate", title="Command line")
    text = re.sub(
        r"\*\*Commands\*\*:\n\n(?:\* .*\n)+", "", text
    )  # cut off at 45 characters; the page's contents list them
    return text.replace("```console\n$ ", "```console\n")
