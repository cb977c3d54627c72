//! Tests of whole reports.

use super::contents::ContentsRow;
use super::*;
use crate::ledger::{
    BuildOutcome, BuildRecord, CiJobRecord, Phase, PhaseRecord, StepCountsRecord, StepEntry, TierOutcome,
    TierRecord,
};
use crate::output::stats::Limits;

/// Text with everything that HTML, SVG or a terminal would interpret.
const HOSTILE: &str =
    "</title><script>alert(1)</script>\" onload='x' style=\"a\u{0}\u{1b}[31m\u{202e}\u{ffff}&lt;]]> --> 漢字";

const LIMITS: Limits = Limits {
    min_hit_rate: Some(90.0),
    max_cache_gb: Some(1.0),
    max_restore_seconds: Some(0.5),
    min_saved_seconds: Some(10.0),
};

/// Returns a build all of whose texts are `text`.
fn build(text: &str, outcome: BuildOutcome) -> BuildRecord {
    let text = || text.to_owned();
    let step = |cached: bool| StepEntry {
        source: Some(format!("RUN {}", text())),
        cached,
        start_millis: (!cached).then_some(300),
        millis: 4_000,
        ..StepEntry::default()
    };
    BuildRecord {
        outcome,
        hit_tier: Some(text()),
        names: vec![text()],
        repositories: vec![text()],
        job: Some(CiJobRecord {
            number: Some(text()),
            url: Some(format!(
                "https://ci.example/{}",
                text().replace(|c: char| c.is_whitespace() || c.is_control(), "")
            )),
            branch: Some(text()),
            ..CiJobRecord::default()
        }),
        changes: vec![format!("{} changed", text())],
        no_key: Some(text()),
        error: Some(text()),
        steps: StepCountsRecord { total: 2, cached: 1, imported: 0 },
        step_list: vec![step(true), step(false)],
        phases: vec![PhaseRecord::new(Phase::Solve, 200, 5_000)],
        tiers: vec![TierRecord {
            failed: true,
            millis: 700,
            spared_millis: Some(9_000),
            ..TierRecord::new(&text(), TierOutcome::Hit, text())
        }],
        stored_bytes: Some(2_000_000),
        millis: 5_400,
        without_millis: Some(15_000),
        ..BuildRecord::started(Timestamp::UNIX_EPOCH)
    }
}

fn files(builds: &[BuildRecord], contents: &CacheContents, limits: Limits) -> Vec<ReportFile> {
    let stats = Stats::new(builds, Path::new("/cache"), 12_345, limits);
    render(&stats, contents, Timestamp::UNIX_EPOCH)
}

fn contents(lane: &str) -> CacheContents {
    let row = ContentsRow { kind: "mount".to_owned(), lane: lane.to_owned(), entries: 3, bytes: 1_000_000 };
    CacheContents::Known { rows: vec![row], bytes_stored: 800_000, bytes_unused: 1_000, unreadable: 1 }
}

fn hostile() -> Vec<ReportFile> {
    use BuildOutcome::{Built, Failed, ImageHit, Interrupted};
    let builds = [Built, ImageHit, Interrupted, Failed].map(|outcome| build(HOSTILE, outcome));
    files(&builds, &contents(HOSTILE), LIMITS)
}

impl ReportFile {
    fn is_chart(&self) -> bool {
        Path::new(&self.name).extension().is_some_and(|extension| extension == "svg")
    }
}

fn page(files: &[ReportFile]) -> &str {
    &files.iter().find(|file| file.name == PAGE).unwrap().content
}

/// Returns the tags of a page or a chart. No text contains `<` or `>`.
fn tags(content: &str) -> impl Iterator<Item = &str> {
    content.split('<').skip(1).map(|rest| rest.split_once('>').expect("the end of a tag").0)
}

#[test]
fn no_text_becomes_markup_and_nothing_breaks_a_strict_policy() {
    let known = [
        "!doctype",
        "a",
        "body",
        "circle",
        "dd",
        "defs",
        "details",
        "div",
        "dl",
        "dt",
        "figcaption",
        "figure",
        "footer",
        "h1",
        "h2",
        "h3",
        "head",
        "header",
        "html",
        "img",
        "li",
        "link",
        "main",
        "meta",
        "p",
        "path",
        "pattern",
        "picture",
        "rect",
        "section",
        "source",
        "span",
        "summary",
        "svg",
        "table",
        "tbody",
        "td",
        "text",
        "th",
        "thead",
        "title",
        "tr",
        "ul",
    ];
    let files = hostile();
    assert_eq!(files.len(), 2 + 2 * 5, "a page, a style sheet, and five charts");
    for ReportFile { name, content } in &files {
        for forbidden in ["url(http", "@import", "data:", "javascript:"] {
            assert!(!content.contains(forbidden), "{name} has {forbidden}");
        }
        let is_forbidden =
            |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{fffe}' | '\u{ffff}');
        assert!(!content.contains(is_forbidden), "{name}");
        for tag in tags(content).filter(|_| name != "style.css") {
            let element = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
            assert!(known.contains(&element), "{name}: <{tag}>");
            for attribute in tag.split('"').step_by(2).filter_map(|part| part.trim().strip_suffix('=')) {
                let attribute = attribute.rsplit(' ').next().unwrap();
                assert!(attribute != "style" && !attribute.starts_with("on"), "{name}: <{tag}>");
                let is_link = element == "a" || attribute == "xmlns";
                let value = tag.split(&format!("{attribute}=\"")).nth(1).unwrap().split('"').next().unwrap();
                assert!(is_link || !value.contains("://"), "{name}: <{tag}>");
            }
        }
    }
}

#[test]
fn charts_are_well_formed_xml() {
    for ReportFile { name, content } in hostile().iter().filter(|file| file.is_chart()) {
        let mut reader = quick_xml::Reader::from_str(content);
        reader.config_mut().check_end_names = true;
        loop {
            match reader.read_event() {
                Ok(quick_xml::events::Event::Eof) => break,
                Ok(_) => {}
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
}

#[test]
fn every_chart_has_a_description_and_exists() {
    let files = hostile();
    let images: Vec<&str> = tags(page(&files)).filter(|tag| tag.starts_with("img ")).collect();
    assert_eq!(images.len(), 5);
    for image in images {
        let value = |attribute: &str| {
            image.split_once(&format!("{attribute}=\"")).unwrap().1.split('"').next().unwrap()
        };
        assert!(value("alt").len() > 20, "{image}");
        let wide = value("src");
        for name in [wide.to_owned(), wide.replace("-wide", "-narrow")] {
            assert!(files.iter().any(|file| file.name == name), "{name}");
        }
    }
}

#[test]
fn what_is_not_known_is_not_shown_as_zero() {
    let mut unknown = build("app", BuildOutcome::ImageHit);
    (unknown.without_millis, unknown.steps, unknown.stored_bytes) = (None, StepCountsRecord::default(), None);
    unknown.tiers[0].spared_millis = None;
    unknown.step_list.clear();
    let reason = "cannot list the store".to_owned();
    let files = files(&[unknown], &CacheContents::Unknown { reason: reason.clone() }, LIMITS);
    let page = page(&files);
    for label in ["Time saved", "Step hit rate", "Median build"] {
        let (_, tile) = page.split_once(&format!("<dt>{label}</dt>")).unwrap();
        let (tile, _) = tile.split_once("</dd>").unwrap();
        assert!(tile.contains(">unknown<"), "{label}: {tile}");
    }
    assert!(page.contains(&format!("unknown: {reason}")));
    assert!(page.contains(">not checked<"));
    assert!(!files.iter().any(|file| file.name.starts_with("cache-size")), "no build has a size");
    let tiers = files.iter().find(|file| file.name == "tiers-wide.svg").unwrap();
    assert!(tiers.content.contains("time spared: unknown"));
}

#[test]
fn an_empty_ledger_is_a_page_without_charts() {
    let files = files(&[], &contents("main"), Limits::default());
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["style.css", "index.html"]);
    let page = page(&files);
    assert!(page.contains("No build has been recorded yet.") && page.contains("What fills the cache"));
    assert!(!page.contains("<img"));
}

#[test]
fn only_pages_on_the_web_are_linked_to() {
    let mut harmless = build("7", BuildOutcome::Built);
    let mut script = harmless.clone();
    harmless.job.as_mut().unwrap().url = Some("https://ci.example/?a=1&b=2".to_owned());
    script.job.as_mut().unwrap().url = Some("javascript:alert(1)".to_owned());
    let files = files(&[harmless, script], &contents("main"), Limits::default());
    let links: Vec<&str> = tags(page(&files)).filter(|tag| tag.starts_with("a ")).collect();
    assert_eq!(links, ["a href=\"https://ci.example/?a=1&#38;b=2\" rel=\"noreferrer\""]);
}

#[test]
fn a_report_is_written_beside_other_files_and_replaces_an_earlier_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("public/larder");
    let empty = files(&[], &contents("main"), Limits::default());
    write(&path, &hostile()).unwrap();
    std::fs::write(path.join("coverage.html"), "mine").unwrap();
    write(&path, &empty).unwrap();
    assert_eq!(std::fs::read_to_string(path.join("coverage.html")).unwrap(), "mine");
    assert_eq!(std::fs::read_to_string(path.join(PAGE)).unwrap(), page(&empty));
    let error = write(&path.join(PAGE), &empty).unwrap_err();
    assert!(error.to_string().starts_with("cannot write the report to "), "{error}");
}
