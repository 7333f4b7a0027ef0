"""How far the page's text stands out from what is behind it, measured in the browser.

What may change here: the measure, along with the standard that each function names.
"""

from __future__ import annotations

from playwright.sync_api import Page


def check_contrasts(page: Page, selectors: list[str]) -> None:
    """Fail unless the text of the first element of each selector can be read on what is behind it."""
    ratios = {selector: contrast(*colours_of(page, selector)) for selector in selectors}
    assert {selector: round(ratio, 2) for selector, ratio in ratios.items() if ratio < 4.5} == {}


def colours_of(page: Page, selector: str) -> tuple[list[float], list[float]]:
    """The text's colour, and the first opaque background behind it: red, green, blue of 0 to 255."""
    colours = page.locator(selector).first.evaluate(
        """(element) => {
            const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
            const behind = (node) => {
                const [red, green, blue, alpha = 1] = numbers(getComputedStyle(node).backgroundColor);
                return alpha === 1 ? [red, green, blue] : behind(node.parentElement);
            };
            return [numbers(getComputedStyle(element).color), behind(element)];
        }"""
    )
    return colours[0], colours[1]


def contrast(text: list[float], ground: list[float]) -> float:
    """WCAG 2.2, "contrast ratio": from 1 to 21; 4.5 is asked of body text."""
    light, dark = sorted((luminance(text), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: list[float]) -> float:
    """WCAG 2.2, "relative luminance" of an sRGB colour."""
    channels = [c / 255 for c in colour]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
