"""A figure's SVG as an element of an HTML page that allows no styles but its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from markupsafe import Markup

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_DECIMALS = re.compile(r"-?\d+\.\d{2,}")
_DROPPED = ("font-family", "font-style", "font-variant", "font-stretch")


def inline_svg(svg: str, prefix: str, alt: str, palette: Mapping[str, str]) -> Markup:
    """`svg`, as matplotlib writes it, as an element of a page with the text `alt` for those who do not see it. A colour of
    `palette` (name -> colour) becomes the class `fill-NAME` or `line-NAME`; ids begin with `prefix`."""
    names = {colour: name for name, colour in palette.items()}
    root = ElementTree.fromstring(svg)
    for child in list(root):
        if child.tag == f"{_SVG}metadata" or child.find(f"{_SVG}style") is not None:
            root.remove(child)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.text = (element.text or "").strip() or None
        element.tail = None
        if (identity := element.attrib.pop("id", None)) in used:
            element.set("id", f"{prefix}-{identity}")
        if target := element.attrib.pop(_HREF, None):
            is_picture = target.startswith("data:image/png;base64,")
            element.set("href", target if is_picture else f"#{prefix}-{target.removeprefix('#')}")
        if clipped := element.get("clip-path"):
            element.set("clip-path", clipped.replace("#", f"#{prefix}-"))
        for name in ("d", "x", "y", "transform", "width", "height"):
            if value := element.get(name):
                element.set(name, _DECIMALS.sub(lambda m: f"{float(m[0]):.1f}", " ".join(value.split())))
        _style_as_attributes(element, names)
    attributes = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": alt, "class": "plot"}
    root.attrib.clear()
    root.attrib.update(attributes)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _style_as_attributes(element: ElementTree.Element, names: Mapping[str, str]) -> None:
    """A page whose policy forbids styles in attributes shows them as attributes of their own, colours as classes."""
    classes = []
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name in ("fill", "stroke") and value in names:
            classes.append(f"{'fill' if name == 'fill' else 'line'}-{names[value]}")
        elif name == "font" and (size := re.match(r"[\d.]+", value)):
            element.set("font-size", size[0])
        elif name and name not in _DROPPED:
            element.set(name, value.removesuffix("px") if name == "font-size" else value)
    if classes:
        element.set("class", " ".join(classes))
