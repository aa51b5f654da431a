"""Tests of the exported folder in Chromium: from a server with a strict content-security policy, and from the disk."""

from __future__ import annotations

import functools
import http.server
import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from peephole import load
from peephole.config import Config, ModelConfig
from peephole.export import export_web
from peephole.nn import build_seq2seq
from peephole.storage.model_file import ModelFile, save_model
from peephole.symbols import CharacterSymbols, FrameSymbols

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; connect-src 'self'; "
    "img-src data:; worker-src 'self'"
)
MEDIA_TYPES = {".js": "text/javascript", ".wasm": "application/wasm", "": "text/html", ".css": "text/css"}
SHOWN = 30_000  # milliseconds that a test waits for a prediction


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files under a strict policy."""

    extensions_map = MEDIA_TYPES

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toy_file: Path) -> Path:
    out = tmp_path_factory.mktemp("web") / "toy.web"
    export_web([toy_file], out)
    return out


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["server", "disk"])
def address(request: pytest.FixtureRequest, server: str, folder: Path) -> str:
    return f"{server if request.param == 'server' else folder.as_uri()}/index.html"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Yield a new page; afterwards, check that it had no error and made no request elsewhere."""
    page = browser.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    yield page
    own = page.url.rsplit("/", 1)[0]
    page.close()
    assert errors == []
    assert [url for url in requests if not url.startswith((own, "blob:", "data:"))] == []


def shown(page: Page, text: str) -> None:
    """Wait until the page shows a prediction of this text."""
    expect(page.locator("#target")).to_have_attribute("data-text", text, timeout=SHOWN)


def test_typing_predicts(page: Page, address: str, toy_file: Path) -> None:
    page.goto(address)
    page.locator("#source").press_sequentially("ab한😀")
    [[best, second, _]] = load(toy_file).predict(["ab한😀"], nbest=3)
    shown(page, best.text)
    assert page.locator("#target button").all_inner_texts() == best.tokens
    assert page.locator("#read span").all_inner_texts() == best.source_tokens
    expect(page.locator("#others li").first).to_contain_text(second.text)
    page.locator("#prefix").fill("SMILE")
    [[best]] = load(toy_file).predict(["ab한😀"], prefixes=["SMILE"])
    shown(page, best.text)


def test_the_keyboard_shows_the_attention(page: Page, server: str, toy_file: Path) -> None:
    page.goto(f"{server}/index.html")
    expect(page.locator("#source")).to_be_focused()  # typed earlier, letters would be lost
    page.keyboard.type("abc")
    [[best]] = load(toy_file).predict(["abc"])
    shown(page, best.text)
    for _ in range(4):  # past the prefix and the beam, and on to the second symbol of the target
        page.keyboard.press("Tab")
    assert page.evaluate_handle("document.activeElement").as_element().inner_text() == best.tokens[1]
    weights = [
        float(node.evaluate("node => node.style.getPropertyValue('--weight')"))
        for node in page.locator("#read span").all()
    ]
    assert best.attention is not None
    assert weights == pytest.approx(best.attention[1].tolist(), abs=1e-4)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(page: Page, server: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{server}/index.html")
    page.locator("#source").fill("a")
    shown(page, "AH")
    colours = page.evaluate_handle("getComputedStyle(document.documentElement)")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (scheme == "dark")
    assert colours.evaluate("style => style.colorScheme") == "light dark"


def test_hostile_sources_are_shown_and_not_run(page: Page, server: str) -> None:
    page.goto(f"{server}/index.html")
    text = "<img src=x onerror=alert(1)><script>a</script>\u202e"
    page.locator("#source").fill(text)
    expect(page.locator("#status")).to_contain_text("not seen in training", timeout=SHOWN)
    assert "".join(page.locator("#read span").all_text_contents()) == text
    assert page.locator("#read img, #read script").count() == 0
    page.locator("#source").fill("")
    shown(page, "")
    page.locator("#source").fill("ab" * 5000)  # cut to the longest source that the model reads
    expect(page.locator("#status")).to_contain_text("only the first 1000 symbols were read", timeout=30_000)
    page.locator("#source").fill("a")
    shown(page, "AH")


def test_small_probabilities_are_not_zero(page: Page, server: str, toy_file: Path) -> None:
    page.goto(f"{server}/index.html")
    page.locator("#prefix").fill("SMILE SMILE SMILE")
    page.locator("#source").fill("a")
    [[best]] = load(toy_file).predict(["a"], prefixes=["SMILE SMILE SMILE"])
    assert best.log_prob < math.log(0.0005)
    expect(page.locator("#status")).to_contain_text("probability below 0.001 ·", timeout=SHOWN)


def test_the_page_of_a_model_that_reads_no_texts_refers_to_the_module(page: Page, tmp_path: Path) -> None:
    config = Config(model=ModelConfig(input="frames", input_size=3, hidden_size=4, embedding_size=4))
    source, target = FrameSymbols("numbers", size=3), CharacterSymbols(["a"], "none")
    tensors = {name: tensor.numpy() for name, tensor in build_seq2seq(config.model, 4, 5).state_dict().items()}
    save_model(tmp_path / "frames.safetensors", ModelFile(tensors, config, source, target))
    export_web([tmp_path / "frames.safetensors"])
    page.goto((tmp_path / "frames.web/index.html").as_uri())
    expect(page.locator("#status")).to_have_text(
        "the model reads numbers, and this page only texts: the module peephole.js predicts from frames"
    )
    assert page.locator(":is(input, textarea):enabled").count() == 0


def in_module(page: Page, server: str, body: str) -> object:
    """Return what a function body with `load` and `bytes`, the model's file, returns in a page of the server."""
    page.goto(f"{server}/page.css")  # any page of the server, under its policy
    page.evaluate(
        """async () => {
        globalThis.module = await import('/peephole.js');
        globalThis.bytes = new Uint8Array(await (await fetch('/model.safetensors')).arrayBuffer());
    }"""
    )
    return page.evaluate(f"async () => {{ const {{ load }} = module; {body} }}")


WORKERS = pytest.mark.parametrize("worker", ["true", "false"])


@WORKERS
def test_a_batch_in_and_without_a_worker(page: Page, server: str, toy_file: Path, worker: str) -> None:
    sources = ["abc", "", "deadbead", *["ab" * i for i in range(1, 20)]]
    found, done = in_module(
        page,
        server,
        f"""
        const model = await load('/model.safetensors', {{ worker: {worker} }});
        const done = [];
        const found = await model.predict({sources}, {{ onProgress: (count) => done.push(count) }});
        model.free();
        const freed = await model.predict(["a"]).catch((error) => error.message);
        return [found.map(([best]) => [best.text, best.logProb]), [...done, freed]];
        """,
    )
    wanted = load(toy_file).predict(sources)
    assert [text for text, _ in found] == [best.text for [best] in wanted]
    assert [score for _, score in found] == pytest.approx([best.log_prob for [best] in wanted], abs=1e-4)
    assert done == [1, 9, 17, 22, "the model was freed"]


@WORKERS
def test_cancelling(page: Page, server: str, worker: str) -> None:
    """A cancelled call ends at once, also while the engine computes, and the model goes on."""
    names, seconds, text = in_module(
        page,
        server,
        f"""
        const model = await load(bytes, {{ worker: {worker} }});
        const before = AbortSignal.abort(), during = new AbortController(), start = performance.now();
        const long = Array.from({{ length: 400 }}, () => "abcde".repeat(150));
        const calls = [
          model.predict(["a"], {{ signal: before }}),
          model.predict(long, {{ signal: during.signal, beamSize: 50 }}),
        ];
        const ends = calls.map((call) => call.catch((error) => error.name));
        setTimeout(() => during.abort(), 20);
        const names = await Promise.all(ends), seconds = (performance.now() - start) / 1000;
        const [[best]] = await model.predict(["a"]);
        return [names, seconds, best.text];
        """,
    )
    assert names == ["AbortError", "AbortError"]
    assert worker == "false" or seconds < 5
    assert text == "AH"


@WORKERS
def test_errors_are_messages(page: Page, server: str, worker: str) -> None:
    found = in_module(
        page,
        server,
        f"""
        const message = (promise) => promise.then(() => "no error", ({{ name, message }}) => `${{name}}: ${{message}}`);
        const how = {{ worker: {worker} }}, damaged = bytes.slice();
        damaged[damaged.length - 1] ^= 1;
        const model = await load(bytes, how);
        return Promise.all([
          message(load(damaged, how)), message(load(new Uint8Array(3), how)),
          message(model.predict([3])), message(model.predict(["a"], {{ nbest: 0 }})), message(model.predict(["a"])),
        ]);
        """,
    )
    assert [text.split(",")[0] for text in found] == [
        "PeepholeError: damaged: wanted checksum '257385bf'",
        "PeepholeError: not a whole safetensors file: wanted at least 8 bytes",
        "PeepholeError: sources: wanted texts or lists of symbols",
        "PeepholeError: nbest: wanted a whole number from 1 to 1000000",
        "no error",
    ]


def test_a_missing_file_is_an_error(browser: Browser, server: str) -> None:
    page = browser.new_page()
    message = in_module(page, server, "return load('/missing').catch((error) => error.message);")
    assert message == f"{server}/missing: wanted a file, got status 404"
    page.close()


TRAP = "AGFzbQEAAAABBAFgAAADAgEABwUBAWYAAAoFAQMAAAs="
"""A WebAssembly module whose function f traps."""


@WORKERS
def test_a_trap_is_an_error_and_the_model_goes_on(page: Page, server: str, folder: Path, worker: str) -> None:
    """A search with a beam of 7 traps, which no real search should do."""
    trap = f"new WebAssembly.Instance(new WebAssembly.Module(decodeBase64('{TRAP}'))).exports.f()"
    script, search = (folder / "engine.js").read_text(), "this.code.peephole_search(request"
    assert script.count(search) == 1
    body = script.replace(search, f"fields.beam_size === 7 ? {trap} : {search}")
    page.route("**/engine.js", lambda route: route.fulfill(body=body, content_type="text/javascript"))
    found = in_module(
        page,
        server,
        f"""
        const model = await load(bytes, {{ worker: {worker} }});
        const named = (error) => `${{error.name}}: ${{error.message}}`;
        const call = (beamSize) => model.predict(["a"], {{ beamSize }}).then(([[best]]) => best.text, named);
        return [await call(7), await call(5), await call(7)];
        """,
    )
    trapped = "EngineStopped: the engine stopped: unreachable"
    assert found == [trapped, "AH", trapped]


@pytest.mark.parametrize(("missing", "build"), [("simd", "plain"), ("exceptions", None), ("everything", None)])
def test_browsers_that_lack_a_part_of_webassembly(page: Page, server: str, missing: str, build: str | None) -> None:
    probe = {"simd": 253, "exceptions": 6}.get(missing, 0)
    page.add_init_script(
        "const real = WebAssembly.validate;"
        f"WebAssembly.validate = (bytes) => !bytes.includes({probe}) && real(bytes);"
        + ("delete globalThis.WebAssembly;" if missing == "everything" else "")
    )
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{server}/index.html")
    if build:
        page.locator("#source").fill("abc")
        shown(page, "AH B K")
        assert f"{server}/{build}.wasm" in requests
    else:
        wanted = (
            "no WebAssembly exceptions; wanted Chrome 95"
            if missing == "exceptions"
            else "this browser has no WebAssembly"
        )
        expect(page.locator("#status")).to_contain_text(wanted)
