"""The page as a person uses it: Chromium without a window, driven by selenium.

Set MLX_VEDEC_PICTURES to a folder to keep pictures of what was shown.
"""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from mlx_vedec import DonutProcessor, NougatProcessor, load, load_dataset
from tests.conftest import DATA, ROOT
from tests.support.serving import serving

selenium = pytest.importorskip("selenium", reason="the extra `browser` brings selenium")
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.slow
PAGE = str(ROOT / "examples" / "page.png")
GONE = re.compile("does not answer|is being stopped")  # a connection that is left says the latter
FIRST = "Harbour Books: Order No. 48213"


class Window:
    """A browser's window on the page, and what a person sees and does there."""

    def __init__(self, driver, downloads):
        self.driver, self.downloads = driver, downloads

    def open(self, url):
        self.driver.get(url)
        self.until(lambda: "mlx_vedec" in self.text("about"))

    def until(self, holds, seconds=60):
        return WebDriverWait(self.driver, seconds, 0.05).until(lambda _: holds())

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, id):
        return self.one(f"#{id}").text

    def read(self, path):
        self.one("#file").send_keys(str(path))
        self.until(lambda: self.one("#cancel").get_attribute("hidden") is not None)

    def lines(self):
        return [line.get_property("value") for line in self.all("#text input")]

    def press(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self):
        return self.driver.switch_to.active_element

    def downloaded(self, name):
        path = self.downloads / name
        self.until(lambda: path.is_file() and path.stat().st_size)
        return path

    def picture(self, name):
        if folder := os.environ.get("MLX_VEDEC_PICTURES"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """Opens windows, which are closed at the end."""
    browser, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not browser or not driver:
        pytest.skip(
            "there is no chromium here, or no chromedriver (apt-get install chromium-driver)"
        )
    opened = []

    def open_window(url, width=1280, height=900, dark=False):
        downloads = tmp_path_factory.mktemp("downloads")
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(flag)
        found = webdriver.Chrome(options=options, service=Service(driver))
        opened.append(found)
        found.set_window_size(width, height)
        media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        found.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        window = Window(found, downloads)
        window.open(url)
        return window

    yield open_window
    for found in opened:
        found.quit()


@pytest.fixture(scope="module")
def corrections(tmp_path_factory):
    return tmp_path_factory.mktemp("corrections") / "mine"


@pytest.fixture(scope="module")
def server(corrections):
    with serving(*load(), corrections=corrections) as found:
        yield found


@pytest.fixture(scope="module")
def window(browse, server):
    return browse(server.url)


def test_a_page_is_read_corrected_and_taken_away(window, corrections):
    window.picture("empty")
    window.read(PAGE)
    assert window.lines()[0] == FIRST and len(window.lines()) == 8
    assert "8 lines read" in window.text("status") and not window.text("problem")
    assert "characters a second" in window.text("about")
    assert len(window.all("#marks rect")) == 76
    window.picture("read")
    # a word, its other readings, and one of them taken
    window.all("#marks rect")[1].click()
    window.until(lambda: window.all("#word .piece .looked"))
    assert "Books:" in window.text("word-title")
    window.picture("word")
    other = window.one("#word .choices button")
    chosen = other.text
    other.click()
    assert not window.one("#word").get_attribute("open")
    assert window.lines()[0] == f"Harbour {chosen} Order No. 48213"
    # a text corrected by hand
    line = window.all("#text input")[2]
    line.clear()
    line.send_keys("We have unpacked three books.")
    assert len(window.all("#text .corrected")) == 2
    window.picture("corrected")
    # a download with the corrections
    for name, ending in (("text", "txt"), ("page", "xml"), ("hocr", "hocr"), ("json", "json")):
        window.one(f"#format option[value={name}]").click()
        window.one("#download").click()
        content = window.downloaded(f"page.{ending}").read_text(encoding="utf-8")
        assert "We have unpacked three books." in content and chosen in content
    assert json.loads(content)["regions"][0]["lines"][2]["confidence"] is None
    # and among the data
    window.one("#save").click()
    window.until(lambda: "Saved" in window.text("status"))
    texts = " ".join(sample.text for sample in load_dataset(corrections))
    assert "We have unpacked three books." in texts


def test_other_readings_keep_what_was_corrected_in_the_line(browse, server):
    window = browse(server.url)
    window.read(PAGE)
    line = window.all("#text input")[1]
    line.clear()
    line.send_keys("Deer Ms. Fielding, many thanks for your order of 12 October.")
    chosen = []
    for word in (7, 15):  # in two parts of the line
        window.all("#marks rect")[word].click()
        window.until(lambda: window.all("#word .choices button"))
        other = window.one("#word .choices button")
        chosen.append(other.text)
        other.click()
    expected = f"Deer Ms. {chosen[0]} many thanks for your order of 12 {chosen[1]}"
    assert window.lines()[1] == expected


def test_other_readings_keep_words_that_were_added_or_taken_away(browse, server):
    window = browse(server.url)
    window.read(PAGE)
    line, chosen = window.all("#text input")[1], []  # which has two parts
    whole = "My Dear Ms. Fielding, many thanks for your order of 12 October. in all"
    for typed, word in ((whole, 15), ("My Fielding, {} in all", 7)):
        line.clear()
        line.send_keys(typed.format(*chosen))
        window.all("#marks rect")[word].click()
        window.until(lambda: window.all("#word .choices button"))
        other = window.one("#word .choices button")
        chosen.append(other.text)
        other.click()
    assert window.lines()[1] == f"My {chosen[1]} {chosen[0]} in all"


def test_by_the_keyboard_alone(browse, server):
    window = browse(server.url)
    for _ in range(3):
        window.press(Keys.TAB)
        if window.focused().get_attribute("id") == "file":
            break
    window.focused().send_keys(PAGE)  # what the browser's own dialog does
    window.until(lambda: window.one("#cancel").get_attribute("hidden") is not None)
    for _ in range(12):
        window.press(Keys.TAB)
        if window.focused().tag_name == "rect":
            break
    assert re.match(r"Harbour, \d+ % sure, line 1", window.focused().accessible_name)
    window.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert window.focused().accessible_name.startswith("Order")
    window.press(Keys.ENTER)
    window.until(lambda: window.all("#word .choices button"))
    window.press(Keys.ESCAPE)
    assert window.focused().accessible_name.startswith("Order")  # where it was
    window.press(Keys.TAB)
    assert window.focused().accessible_name.startswith("Line 1")
    window.press(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.END, "!")
    assert window.lines()[2].endswith("!") and len(window.all("#text .corrected")) == 1


def test_every_control_has_a_name(window):
    named = window.all("button, input, select, textarea, [role=button], [role=group], dialog, img")
    visible = [element for element in named if element.is_displayed()]
    assert len(visible) > 80 and all(element.accessible_name for element in visible)


def test_two_windows_correct_one_page(browse, server, window):
    other = browse(server.url)
    other.read(PAGE)
    other.all("#text input")[0].send_keys(" twice")
    other.one("#save").click()
    other.until(lambda: other.one("#again").get_attribute("open"))
    assert "revision" in other.text("again-body")
    other.press(Keys.ESCAPE)
    other.until(lambda: "Nothing was saved" in other.text("status"))
    other.one("#save").click()
    other.until(lambda: other.one("#again").get_attribute("open"))
    other.one("#again-save").click()
    other.until(lambda: "Saved" in other.text("status"))


@pytest.mark.parametrize("kind", ["no image", "100 megapixels", "empty page"])
def test_what_is_wrong_is_said_in_words(window, tmp_path, kind):
    path = tmp_path / "wrong.png"
    if kind == "no image":
        path.write_text("no image")
    elif kind == "100 megapixels":
        Image.new("1", (11_000, 10_000)).save(path)
    else:
        picture = Image.new("RGB", (800, 600), "white")
        ImageDraw.Draw(picture).point((1, 1), "black")
        picture.save(path)
    window.read(path)
    if kind == "empty page":
        assert "no text" in window.text("status")
    else:
        said = window.text("problem")
        assert {"no image": "no format", "100 megapixels": "pixels"}[kind] in said
        assert said[0].isupper() and str(tmp_path) not in said
    window.picture(kind.replace(" ", "-"))


def test_an_image_that_the_browser_does_not_show(window, tmp_path):
    """Its lines stand where they would stand on it."""
    with Image.open(PAGE) as picture:
        picture.save(tmp_path / "page.tif")
    window.read(tmp_path / "page.tif")
    assert "does not show images of this format" in window.text("problem")
    assert window.lines()[0] == FIRST
    size = window.one("#marks").size
    assert abs(size["width"] / size["height"] - picture.width / picture.height) < 0.1


@pytest.mark.parametrize(("name", "width", "dark"), [("phone", 390, False), ("dark", 1280, True)])
def test_on_a_phone_and_in_the_dark(browse, server, name, width, dark):
    window = browse(server.url, width, 844, dark)
    window.read(PAGE)
    script = "return [document.documentElement.scrollWidth, innerWidth]"
    content, shown = window.driver.execute_script(script)
    assert content <= shown  # nothing to scroll sideways to
    script = "return getComputedStyle(document.body).backgroundColor"
    back = window.driver.execute_script(script)
    assert (sum(map(int, back[4:-1].split(","))) < 380) is dark
    window.picture(name)


def test_no_request_leaves_the_machine(window, server):
    asked = set()
    for entry in window.driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    assert any(url.endswith("/v1/read") for url in asked)
    own = (server.url, "blob:", "data:", "chrome:")
    assert not [url for url in asked if not url.startswith(own)]


def test_reading_is_cancelled_and_the_server_goes(browse):
    with serving(*load()) as server:
        window = browse(server.url)
        assert not window.one("#save").is_displayed()
        window.one("#file").send_keys(PAGE)
        window.press(Keys.ESCAPE)
        window.until(lambda: window.one("#cancel").get_attribute("hidden") is not None)
        assert "ancelled" in window.text("status") or "read in" in window.text("status")
        window.read(PAGE)
    window.all("#marks rect")[0].click()
    window.until(lambda: GONE.search(window.text("word-body")))
    window.press(Keys.ESCAPE)
    window.one("#download").click()
    window.until(lambda: GONE.search(window.text("problem")))
    assert window.lines()[0] == FIRST


def test_a_server_that_goes_while_it_answers(browse, server):
    window = browse(server.url)
    window.driver.execute_script(
        "const broken = {start: (stream) => stream.error(new TypeError('network error'))};"
        "window.fetch = async () => new Response(new ReadableStream(broken));"
    )
    window.read(PAGE)
    assert GONE.search(window.text("problem")) and "Nothing was read" in window.text("status")


def test_a_key_is_asked_for_once(browse):
    with serving(*load(), api_keys=["secret"]) as server:
        window = browse(server.url)
        window.one("#file").send_keys(PAGE)
        window.until(lambda: window.one("#key").get_attribute("open"))
        window.press("secret", Keys.ENTER)
        window.until(lambda: "8 lines read" in window.text("status"))
        window.read(PAGE)
        assert window.lines()[0] == FIRST


@pytest.mark.parametrize("kind", [DonutProcessor, NougatProcessor])
def test_models_of_whole_pages(browse, kind):
    model, processor = load()
    line = DATA / "lines" / "seen_006.png"
    with serving(model, kind(processor.image_processor, processor.tokenizer)) as server:
        window = browse(server.url)
        window.read(line)
        field = window.one("#text input, #text textarea")
        assert "wheel 206,3" in field.get_property("value")
        assert field.tag_name == ("input" if kind is DonutProcessor else "textarea")
        field.clear()
        field.send_keys("corrected")
        window.one("#format option[value=json]").click()
        window.one("#download").click()
        content = json.loads(window.downloaded("seen_006.json").read_text())
        assert [*content.values()] == ["corrected"]
        assert not window.one("#split").is_displayed() and not window.one("#save").is_displayed()
