//! The details page and the list of runs, of real runs in a real browser (CONTRACT 6, 6.1).

mod scenes;
mod shared;

use std::fs;
use std::path::{Path, PathBuf};

use crate::share::bench::STATE;
use crate::support::browser::{Browser, Look};
use crate::support::{Place, wait_until};

use self::scenes::Scene;

const WIDE: Look = Look { width: 1200, height: 1000, scheme: "light" };
const NARROW: Look = Look { width: 360, height: 780, scheme: "light" };

/// Asserts that a page is what it should be, in the browser: nothing runs, nothing is loaded, nothing is refused,
/// nothing sticks out, everything can be read and has its place in the outline.
fn assert_sound(browser: &mut Browser, what: &str, page: &Path) {
    for look in [WIDE, NARROW, Look { scheme: "dark", ..WIDE }] {
        let (loaded, complaints) = browser.open(page, look);
        assert_eq!(loaded.len(), 1, "{what}: {loaded:#?}");
        assert!(complaints.is_empty(), "{what}: {complaints:#?}");
        let wide = browser.evaluate("document.documentElement.scrollWidth");
        assert!(wide.as_f64() <= Some(f64::from(look.width)), "{what}: {wide} of {look:?}");
        let unreadable = browser.evaluate(UNREADABLE);
        assert_eq!(unreadable.as_array().map(Vec::len), Some(0), "{what}, {}: {unreadable:#}", look.scheme);
    }
    // Had the policy refused the style, there would be no frame.
    let styled = browser.evaluate("getComputedStyle(document.body).maxWidth");
    assert_eq!(styled, "1216px", "{what}: no style");
    let foreign = "document.querySelectorAll('script,x-y,iframe,object,embed,img,link,form,[style],[onclick]').length";
    assert_eq!(browser.evaluate(foreign), 0, "{what}");
    let outline = "[document.querySelectorAll('h1').length, document.querySelectorAll('main').length,
        document.querySelectorAll('th:not([scope])').length,
        [...document.querySelectorAll('svg[role=img]')].filter(svg => !svg.querySelector('title')).length,
        [...document.querySelectorAll('[aria-labelledby]')].flatMap(it => it.getAttribute('aria-labelledby').split(' '))
            .filter(id => !document.getElementById(id)).length].join()";
    assert_eq!(browser.evaluate(outline), "1,1,0,0,0", "{what}");
}

/// Texts whose contrast to what is behind them is below 4.5, as WCAG 2 (AA) counts it.
const UNREADABLE: &str = r"(() => {
    const parts = text => text.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = it => {
        for (; it; it = it.parentElement) {
            const colour = parts(getComputedStyle(it).backgroundColor);
            if (colour.length == 3 || colour[3] > 0.99) return colour;
        }
        return [255, 255, 255];
    };
    const seen = new Map();
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const it = walk.currentNode.parentElement;
        if (!walk.currentNode.data.trim() || !it.getClientRects().length || it.closest('svg')) continue;
        const [front, back] = [parts(getComputedStyle(it).color), behind(it)];
        const [a, b] = [light(front), light(back)].sort((a, b) => b - a);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) seen.set(`${it.tagName} ${it.className} ${front} on ${back}`, ratio.toFixed(2));
    }
    return [...seen].slice(0, 10);
})()";

/// Runs a script again where the kernel was too busy to put the probes in: then nothing is known of its steps.
fn until_recorded(place: &impl Place, mut run: impl FnMut()) {
    wait_until("a run whose steps are recorded", || {
        run();
        let newest = format!("cd {STATE}/runs; cat $(ls -t | head -1)/outcome.json");
        let outcome = place.bash(&newest).ok();
        if outcome.contains("took too long to put the probes in") { Err(outcome) } else { Ok(()) }
    });
}

/// A page with something in it that its policy has to stop.
fn tampered(page: &Path, folder: &Path) -> PathBuf {
    let text = fs::read_to_string(page).expect("a page");
    let bad = "<p style=\"color:red\">x</p><img src=\"x.png\"><script>document.title = 'ran'</script></main>";
    let path = folder.join("tampered.html");
    fs::write(&path, text.replacen("</main>", bad, 1)).expect("a page");
    path
}

#[test]
fn pages_of_real_runs_run_nothing_load_nothing_and_can_be_read_on_any_screen() {
    let folder = tempfile::tempdir().expect("a folder");
    let scenes = scenes::play(folder.path());
    let mut browser = Browser::start();
    for Scene { name, page, words } in &scenes {
        let size = fs::metadata(page).expect("a page").len();
        println!("{name}: {size} bytes");
        assert!(size < 1 << 20, "{name}: {size}");
        assert_sound(&mut browser, name, page);
        let top = browser.evaluate("(document.querySelector('header') ?? document.body).innerText");
        for word in *words {
            assert!(top.as_str().is_some_and(|top| top.contains(word)), "{name}: {word:?} in {top}");
        }
    }
    let (_, complaints) = browser.open(&tampered(&scenes[0].page, folder.path()), WIDE);
    assert_eq!(complaints.len(), 3, "style, image and script: {complaints:#?}");
    assert_ne!(browser.evaluate("document.title"), "ran");
    scenes::keep_pictures(&mut browser, &scenes);
}
