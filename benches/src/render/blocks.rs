//! What the tool writes stands between two marks of the page; the rest is kept.

use anyhow::{Context, Result};

const END: &str = "<!-- end -->";

/// Puts `content` between the marks called `name`.
pub(super) fn put(page: &str, name: &str, content: &str) -> Result<String> {
    let mark = format!("<!-- figures: {name} -->\n");
    let missing = || format!("the page has no line {}", mark.trim_end());
    let begin = page.find(&mark).with_context(missing)? + mark.len();
    let end = begin + page[begin..].find(END).with_context(|| format!("{} has no end", mark.trim_end()))?;
    let content = content.trim_end();
    let newline = if content.is_empty() { "" } else { "\n" };
    Ok(format!("{}{content}{newline}{}", &page[..begin], &page[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_hand_is_kept() {
        let page = "# A\n<!-- figures: one -->\nold\n<!-- end -->\nby hand\n<!-- figures: two -->\n<!-- end -->\nlast\n";
        let page = put(page, "one", "new\nlines\n").unwrap();
        let page = put(&page, "two", "").unwrap();
        let expected = "# A\n<!-- figures: one -->\nnew\nlines\n<!-- end -->\nby hand\n<!-- figures: two -->\n<!-- end -->\nlast\n";
        assert_eq!(page, expected);
        assert_eq!(put(&page, "one", "new\nlines\n").unwrap(), expected);
        assert!(put(&page, "three", "").is_err());
    }

    #[test]
    fn the_template_has_a_place_for_each_scenario() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        for scenario in crate::scenario::Scenario::all(&folder).unwrap() {
            assert!(put(super::super::TEMPLATE, &scenario.name, "x").is_ok(), "{}", scenario.name);
        }
    }
}
