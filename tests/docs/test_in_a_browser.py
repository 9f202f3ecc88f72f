"""Every page of the built documentation fits a phone and a desk, and shows what it says, in a real browser."""

import json
import os
import shutil
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from queue import Queue

import pytest

ROOT = Path(__file__).parents[2]
CHROMIUM = next(
    (p for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (p := shutil.which(name))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt install chromium)"),
    pytest.mark.skipif(find_spec("mkdocs_jupyter") is None, reason="the extra `docs` is not installed"),
]

# a headless window is at least 500 pixels wide, a frame in it is as wide as it is told
PROBE = """<!doctype html><title>probe</title><body><script>
const pages = PAGES, widths = [390, 1280], found = [];
const shown = (node) => node.getClientRects().length > 0;
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const look = (page, width) => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.src = page;
  frame.onload = async () => {
    const inside = frame.contentDocument, article = inside.querySelector("article");
    await Promise.race([Promise.all([...inside.images].map((i) => i.decode().catch(() => 0))), pause(3000)]);
    const prose = article.cloneNode(true);
    const code = "pre, code, .highlight, .highlight-ipynb, .clipboard-copy-txt, script, style, .jp-OutputArea";
    prose.querySelectorAll(code).forEach((node) => node.remove());
    const levels = [...article.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(shown).map((h) => +h.tagName[1]);
    const wider = (node) => node.getBoundingClientRect().right > width + 1;
    const scrolling = "pre, .highlight, .md-typeset__scrollwrap, .jp-OutputArea, nav";
    const scrolls = (node) => node.parentElement.closest(scrolling);
    found.push({
      page, width, levels,
      wide: inside.documentElement.scrollWidth > width,
      beyond: [...article.querySelectorAll("*")].filter((n) => shown(n) && wider(n) && !scrolls(n))
        .map((n) => `${n.tagName} ${n.className} ${n.textContent.trim().slice(0, 60)}`).slice(0, 3),
      broken: [...inside.images].filter((i) => !i.naturalWidth).map((i) => i.src),
      cut: [...article.querySelectorAll("pre > code")].filter((c) => shown(c) && c.scrollWidth > c.clientWidth + 1)
        .map((c) => [c.closest("[class*=language-]")?.className.match(/language-(\\w+)/)[1] ?? "", c.textContent]),
      raw: prose.textContent.match(/.{0,30}(\\*\\*|\\]\\(|<!--|-->|```|:::|=== "|&[a-z]+;|<\\/?[a-z]+>).{0,30}/g) ?? [],
    });
    frame.remove();
    done();
  };
  document.body.append(frame);
});
(async () => {
  for (const page of pages) for (const width of widths) await look(page, width);
  return found;
})().catch((error) => String(error.stack))
  .then((body) => fetch("/found", {method: "POST", body: JSON.stringify(body)}));
</script>"""


def seen_by_chromium(site: Path, profile: Path) -> list[dict]:
    """What a real browser finds in every page of a built site, once as wide as a phone and once as a small desk."""
    pages = sorted(f"/{path.parent.relative_to(site).as_posix()}/" for path in site.rglob("index.html"))
    answers: Queue[list[dict] | str] = Queue()

    class Site(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/probe":
                self.answer(PROBE.replace("PAGES", json.dumps(pages)).encode())
            else:
                super().do_GET()

        def do_POST(self) -> None:
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(b"")

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the terminal is the test's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync "
        "--disable-component-update --remote-debugging-port=0 --window-size=1400,1000"
    )
    far = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # the network of this machine has no say
    address = f"http://127.0.0.1:{server.server_address[1]}/probe"
    chromium = subprocess.Popen(
        [str(CHROMIUM), *flags.split(), far, f"--user-data-dir={profile}", address],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        found = answers.get(timeout=400)
    finally:
        chromium.terminate()
        chromium.wait()
        server.shutdown()
        server.server_close()
    assert isinstance(found, list), found
    assert len(found) == 2 * len(pages)
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What Chromium finds in the documentation, built anew."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder / "site")]
    subprocess.run(build, cwd=ROOT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    found = seen_by_chromium(folder / "site", folder / "chromium")
    assert len(found) > 80
    return found


def test_no_page_is_wider_than_the_window(seen: list[dict]) -> None:
    assert [(page["page"], page["width"]) for page in seen if page["wide"]] == []
    assert [(page["page"], page["width"], page["beyond"]) for page in seen if page["beyond"]] == []


def test_every_picture_is_shown(seen: list[dict]) -> None:
    assert [(page["page"], page["broken"]) for page in seen if page["broken"]] == []


def test_headings_are_in_order(seen: list[dict]) -> None:
    for page in seen:
        levels = page["levels"]
        assert levels.count(1) == 1, page["page"]
        assert levels[0] == 1, page["page"]
        assert all(after - before <= 1 for before, after in pairwise(levels)), page["page"]


def test_no_mark_of_the_source_is_shown_as_text(seen: list[dict]) -> None:
    assert [(page["page"], page["raw"]) for page in seen if page["raw"]] == []


def test_commands_are_whole_on_a_phone_and_code_at_a_desk(seen: list[dict]) -> None:
    cut = {
        (page["page"], text.strip().splitlines()[0])
        for page in seen
        for language, text in page["cut"]
        if language in ("bash", "sh") or (page["width"] == 1280 and language in ("python", "yaml"))
    }
    assert cut == set()
