"""Open a dashboard in headless Chromium and keep pictures of it; runs in the environment that has playwright.

python take_pictures.py ADDRESS USER PASSWORD DASHBOARD FOLDER CHROMIUM
"""

import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTH, HEIGHT = 1500, 3200
WAIT_MS = 90_000


def logged_in(page: Page, address: str, user: str, password: str) -> None:
    page.goto(f"{address}/login/", wait_until="domcontentloaded")
    page.locator("#username, input[name=username]").first.fill(user)
    page.locator("#password, input[name=password]").first.fill(password)
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/login" not in url, timeout=WAIT_MS)


def settled(page: Page) -> None:
    """Wait until every chart is drawn: none loading, and none that has not begun."""
    page.wait_for_selector(".dashboard-component-chart-holder", timeout=WAIT_MS)
    page.wait_for_timeout(4000)
    page.wait_for_function(
        '() => !document.querySelector(\'.dashboard-component-chart-holder [data-test="loading-indicator"], '
        ".dashboard-component-chart-holder .loading')",
        timeout=WAIT_MS,
    )
    page.wait_for_timeout(3000)


def main(address: str, user: str, password: str, dashboard: str, folder: Path, chromium: str) -> int:
    said: list[str] = []
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            profile, executable_path=chromium, args=FLAGS, viewport={"width": WIDTH, "height": HEIGHT}
        )
        page = context.pages[0]
        page.on("pageerror", lambda error: said.append(str(error)))
        logged_in(page, address, user, password)
        page.goto(f"{address}/superset/dashboard/{dashboard}/?standalone=0", wait_until="domcontentloaded")
        settled(page)
        content = page.locator(".dashboard-content, [data-test=dashboard-content-wrapper]").first.bounding_box()
        page.set_viewport_size(
            {"width": WIDTH, "height": min(6000, int(content["height"] + 160) if content else HEIGHT)}
        )
        settled(page)
        page.screenshot(path=folder / "whole.png")
        alerts = page.locator(".dashboard-component-chart-holder [role=alert]").all_inner_texts()
        context.close()
    picture = Image.open(folder / "whole.png").convert("RGB")
    picture.quantize(192, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
        folder / "dashboard.png", optimize=True
    )
    for problem in [*said, *alerts]:
        print(f"in the browser: {problem}", file=sys.stderr)
    size_bytes = (folder / "dashboard.png").stat().st_size
    print(f"{folder / 'dashboard.png'}: {picture.width} x {picture.height}, {size_bytes:,} bytes")
    return 1 if alerts else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:5], Path(sys.argv[5]), sys.argv[6]))
