"""The report in a real browser: Chromium without a screen, from a file, with no network to go to."""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from harness.campaign.campaign import Campaign
from harness.campaign.journal import Journal, locked
from harness.campaign.layout import Layout
from harness.campaign.record import ControlRecord, Record
from harness.report.campaign_data import read_campaign_data
from harness.report.html.report import render
from harness.report.paper.render_html import render_html
from harness.report.paper.writeup import compose
from tests.synthetic import HOSTILE, fill
from tests.waiting import HANGS, until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
MISSING = [
    name
    for name, found in (
        ("chromium", CHROMIUM),
        ("chromedriver", CHROMEDRIVER),
        ("selenium", importlib.util.find_spec("selenium")),
        ("axe-core-python", importlib.util.find_spec("axe_core_python")),
    )
    if not found
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

CONTEXT = '\n[[metric]]\nname = "width"\nrequired = false\n'
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
OPEN_ALL = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"
Driver = Any
Open = Callable[..., Driver]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd(
        "Network.emulateNetworkConditions", {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    )
    yield driver
    driver.quit()


@pytest.fixture
def recorded(make_campaign: Callable[..., Campaign], experiment: Path) -> Callable[..., Campaign]:
    """Makes a campaign of records."""

    def make(runs: int, **how: Any) -> Campaign:
        contract = experiment / "experiment.toml"
        contract.write_text(contract.read_text() + CONTEXT)
        campaign = make_campaign({}, max_runs=max(runs, 10))
        if runs >= 0:
            fill(campaign, runs, **how)
        return campaign

    return make


@pytest.fixture
def show(browser: Driver, tmp_path: Path) -> Open:
    """Opens a page, as wide as asked."""

    def show_it(html: str, *, width: int = 1024) -> Driver:
        file = tmp_path / "report.html"
        file.write_text(html)
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        choose(browser, "light")
        browser.get_log("browser")
        browser.get_log("performance")
        browser.get(file.as_uri())
        return browser

    return show_it


@pytest.fixture
def open_page(recorded: Callable[..., Campaign], show: Open) -> Open:
    """Opens the report on a campaign of records."""

    def open_it(runs: int, *, watched: bool = False, width: int = 1024, **how: Any) -> Driver:
        return show(report(recorded(runs, **how), watched=watched), width=width)

    return open_it


def report(*campaigns: Campaign, watched: bool = False) -> str:
    """The page on these campaigns; of one that is `watched` as if it ran."""
    with locked(campaigns[0].lock) if watched else nullcontext():
        return render([read_campaign_data(Layout(each.root)) for each in campaigns], watched=watched)


def take_in_hand(campaign: Campaign) -> Campaign:
    """As if the last run had no record yet, and were executed with another seed."""
    last = max(int(folder.name[4:]) for folder in campaign.root.glob("run_*"))
    (campaign.run_folder(last) / "record.json").unlink()
    lines = [json.loads(line) for line in campaign.journal.read_text().splitlines()]
    lines = [line for line in lines if line.get("step") != f"run_{last}/record"]
    for line in lines:
        if line["event"] == "done" and line["step"].startswith(f"run_{last}/attempt"):
            line["result"] |= {"all_completed": False, "no_answer": "", "hypothesis": "a smaller step helps"}
    campaign.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    journal = Journal(campaign.journal)
    journal.append("done", step=f"run_{last}/attempt_1/pre_check", seconds=0, result={"rejected": "nothing changed"})
    executed = {"failure": None, "outcome": {"seconds": 2.0}, "warnings": []}
    journal.append("done", step=f"run_{last}/attempt_2/execute", seconds=2, result=executed)
    step = f"run_{last}/seed_1"
    journal.append("started", step=step)
    output = Layout(campaign.root).output(step)
    output.parent.mkdir(parents=True)
    output.write_text("step 30 of 40\n")
    return campaign


COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules of axe that rest on colours."""


def serious(driver: Driver, *, dark: bool = True) -> list[Any]:
    """What axe finds that is serious or worse in a page that is shown in light; in `dark`, by the rules on colours."""
    found = [("light", run_axe(driver, {}))]
    assert len(found[0][1]["passes"]) > 15
    if dark:
        choose(driver, "dark")
        found.append(("dark", run_axe(driver, {"runOnly": COLOURS})))
        assert COLOURS[0] in [each["id"] for each in found[1][1]["passes"]]
    return [
        (scheme, each["id"], each["impact"], [node["html"][:200] for node in each["nodes"][:3]])
        for scheme, all_found in found
        for each in all_found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def run_axe(driver: Driver, options: dict[str, Any]) -> Any:
    import axe_core_python

    driver.execute_script((Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    driver.set_script_timeout(HANGS)
    # Of what passes the rules are enough; to name every element of a long page takes a minute.
    run = "axe.run({...arguments[0], resultTypes: ['violations']}).then(arguments[1])"
    return driver.execute_async_script(run, options)


def choose(driver: Driver, scheme: str) -> None:
    """Have the browser prefer light or dark."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def press(driver: Driver, selector: str, key: str) -> None:
    from selenium.webdriver.common.by import By

    element = driver.find_element(By.CSS_SELECTOR, selector)
    driver.execute_script("arguments[0].focus()", element)
    assert driver.switch_to.active_element == element
    element.send_keys(key)


def column(driver: Driver, number: int) -> list[str]:
    return list(
        driver.execute_script(
            "return [...document.querySelector('#runs').parentElement.querySelectorAll('tbody tr')]"
            ".map((row) => row.cells[arguments[0]].innerText.split('\\n')[0])",
            number,
        )
    )


@pytest.mark.parametrize("hostile", [pytest.param("", marks=pytest.mark.slow), HOSTILE], ids=["plain", "hostile"])
def test_nothing_is_executed_fetched_or_complained_about(open_page: Open, hostile: str) -> None:
    driver = open_page(6, hostile=hostile, lines=30)
    driver.execute_script(OPEN_ALL)
    assert driver.execute_script("return window.pwned") is None
    assert driver.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert asked == {driver.current_url}


@pytest.mark.usefixtures("undrawn")
def test_hostile_text_is_shown_as_text(open_page: Open) -> None:
    driver = open_page(2, hostile=HOSTILE)
    shown = driver.execute_script("return document.body.innerText")
    assert "<script>window.pwned = 1</script></style></pre><img src=x" in shown


@pytest.mark.usefixtures("undrawn")
def test_marks_that_are_stacked_reach_over_no_other_line(open_page: Open) -> None:
    driver = open_page(2, hostile="Z" + "\u0300\u0301" * 100)
    clips = (
        "const all = [...document.querySelectorAll('main *')].filter((each) => each.innerText && each.innerText.includes('Z\u0300'));"
        "const clipped = (each) => each && (getComputedStyle(each).overflowY !== 'visible' || clipped(each.parentElement));"
        "return [all.length, all.filter((each) => !each.querySelector('*') && !clipped(each)).map((each) => each.outerHTML)]"
    )
    driver.execute_script(OPEN_ALL)
    count, free = driver.execute_script(clips)
    assert count > 10 and free == []


@pytest.mark.usefixtures("undrawn")
def test_a_table_is_sorted_with_the_keyboard(open_page: Open) -> None:
    driver = open_page(10)
    from selenium.webdriver.common.keys import Keys

    button = "table.sortable thead th:nth-child(3) button"
    press(driver, button, Keys.ENTER)
    assert column(driver, 2) == ["0.76", "0.79", "0.82", "0.85", "0.88", "0.91", "0.94", "1", "1", "–", "–"]
    press(driver, button, Keys.SPACE)
    assert column(driver, 2) == ["1", "1", "0.94", "0.91", "0.88", "0.85", "0.82", "0.79", "0.76", "–", "–"]
    head = "return document.querySelector('table.sortable thead th:nth-child(3)').getAttribute('aria-sort')"
    assert driver.execute_script(head) == "descending"
    press(driver, "table.sortable thead th:nth-child(1) button", Keys.ENTER)
    assert column(driver, 0) == [str(run) for run in range(11)]
    assert driver.execute_script(head) == "none"


@pytest.mark.usefixtures("undrawn")
def test_runs_are_folded_with_the_keyboard(open_page: Open) -> None:
    driver = open_page(6)
    from selenium.webdriver.common.keys import Keys

    is_open = "return document.querySelector('#run-4').open"
    assert not driver.execute_script(is_open)
    press(driver, "#run-4 > summary", Keys.ENTER)
    assert driver.execute_script(is_open)
    press(driver, "#run-4 > summary", Keys.SPACE)
    assert not driver.execute_script(is_open)
    press(driver, "button[data-fold=open]", Keys.ENTER)
    assert driver.execute_script("return document.querySelectorAll('details.run[open]').length") == 7


@pytest.mark.usefixtures("undrawn")
def test_a_link_to_a_run_unfolds_it(open_page: Open) -> None:
    driver = open_page(6)
    from selenium.webdriver.common.keys import Keys

    press(driver, 'a[href="#run-5"]', Keys.ENTER)
    until(lambda: driver.execute_script("return document.querySelector('#run-5').open"))
    top = driver.execute_script("return document.querySelector('#run-5').getBoundingClientRect().top")
    assert abs(top) < 100


@pytest.mark.parametrize("width", [pytest.param(390, marks=pytest.mark.slow), 1024])
def test_axe_finds_nothing_serious(open_page: Open, width: int) -> None:
    driver = open_page(5, width=width, seeds=3, hostile="<b>" if width == 390 else "")
    driver.execute_script(OPEN_ALL)
    assert serious(driver) == []


@pytest.mark.parametrize("runs", [-1, 0, 3])
def test_axe_finds_nothing_serious_in_a_campaign_that_runs(recorded: Callable[..., Campaign], show: Open, runs: int) -> None:
    campaign = recorded(runs)
    driver = show(report(take_in_hand(campaign) if runs > 0 else campaign, watched=True))
    driver.execute_script("document.querySelector('#pause').click()")  # it would load itself again under axe's hands
    driver.execute_script(OPEN_ALL)
    assert serious(driver) == []


@pytest.mark.slow
def test_axe_finds_nothing_serious_in_several_campaigns(recorded: Callable[..., Campaign], show: Open) -> None:
    campaign = recorded(2, seeds=3)
    record = Record.read(campaign.run_folder(1))
    control = ControlRecord(name="control steps=80", overrides={"steps": 80}, run=1, seeds=[0], metrics={"loss": [0.5]})
    record.model_copy(update={"control": control, "advice": ["look"]}).write(campaign.run_folder(1))
    driver = show(report(campaign, campaign), width=390)
    driver.execute_script(OPEN_ALL)
    assert serious(driver, dark=False) == []


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_axe_finds_nothing_serious_in_many_runs(open_page: Open) -> None:
    assert serious(open_page(24, lines=1), dark=False) == []


def test_axe_finds_nothing_serious_in_a_write_up_and_nothing_of_it_is_executed(
    recorded: Callable[..., Campaign], show: Open
) -> None:
    campaign = read_campaign_data(Layout(recorded(5, seeds=3, hostile=HOSTILE).root))
    driver = show(render_html(compose(campaign, "a person's words")), width=390)
    assert serious(driver) == []
    assert driver.execute_script("return window.pwned") is None
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [390, 1024, 1600])
def test_the_page_is_no_wider_than_the_screen(open_page: Open, width: int) -> None:
    driver = open_page(4, width=width, hostile="x" * 500 + "</pre>", lines=3)
    driver.execute_script(OPEN_ALL)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width


def test_a_laptop_has_room_for_all_columns_of_all_runs(recorded: Callable[..., Campaign], show: Open) -> None:
    campaign = recorded(4, seeds=3)
    for run in (1, 2, 4):
        record = Record.read(campaign.run_folder(run))
        compared = record.verdict.against_baseline
        steps = {"against_parent": compared and compared.model_copy(update={"reference": f"run_{run - 1}"})}
        update = {
            "parent": run - 1,
            "verdict": record.verdict.model_copy(update=steps),
            "hypothesis": "It falls faster. " * 9,
        }
        record.model_copy(update=update).write(campaign.run_folder(run))
    driver = show(report(campaign), width=1280)
    hidden = "const box = document.querySelector('.runs').parentElement; return box.scrollWidth - box.clientWidth"
    assert driver.execute_script(hidden) <= 0


def test_dark_is_dark_in_page_and_figures(open_page: Open) -> None:
    look = (
        "const of = (s, p) => getComputedStyle(document.querySelector(s))[p];"
        "return [of('body', 'backgroundColor'), of('svg.plot text', 'fill'), of('.line-accent', 'stroke')]"
    )
    driver = open_page(2)
    light = driver.execute_script(look)
    choose(driver, "dark")
    dark = driver.execute_script(look)
    assert light[0] == "rgb(255, 255, 255)"
    assert all(here != there for here, there in zip(light, dark, strict=True))


@pytest.mark.usefixtures("undrawn")
def test_paper_holds_what_is_folded_on_the_screen(open_page: Open) -> None:
    driver = open_page(6)
    shown = "return document.querySelector('#run-4 .diff').checkVisibility({contentVisibilityAuto: true})"
    assert not driver.execute_script(shown)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        until(lambda: driver.execute_script(shown))  # the style of another medium comes with the next frame
        pdf = driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
        assert base64.b64decode(pdf["data"]).startswith(b"%PDF")
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.usefixtures("undrawn")
def test_a_page_that_is_watched_loads_itself_again_as_it_was_and_can_be_paused(
    recorded: Callable[..., Campaign], show: Open, tmp_path: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    campaign = recorded(6)
    driver = show(report(campaign, watched=True))
    driver.execute_script("document.querySelector('#run-4').open = true; window.before = true")
    for _ in range(2):  # falling
        press(driver, "table.sortable thead th:nth-child(3) button", Keys.ENTER)
    order = column(driver, 0)
    unfolded = "return [...document.querySelectorAll('details[open]')].map((each) => each.id)"
    known = driver.execute_script(unfolded)
    assert order == ["0", "6", "2", "5", "1", "4", "3"] and "run-4" in known
    html = report(take_in_hand(campaign), watched=True)
    assert html.index('id="output"') < html.index('id="run-1"'), "something to unfold that was not there before"
    (tmp_path / "report.html").write_text(html)
    until(lambda: not driver.execute_script("return window.before"), every=0.1)
    until(lambda: driver.execute_script("return document.querySelector('#output') !== null"), every=0.1)
    assert driver.execute_script(unfolded) == known
    assert column(driver, 0) == [run for run in order if run != "6"]
    head = "return document.querySelector('table.sortable thead th:nth-child(3)').getAttribute('aria-sort')"
    assert driver.execute_script(head) == "descending"
    press(driver, "#pause", Keys.ENTER)
    assert driver.execute_script("return document.querySelector('#pause').innerText") == "Go on"
