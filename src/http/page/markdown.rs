//! Markdown of our own texts, as HTML.

use maud::{Markup, PreEscaped};
use pulldown_cmark::{Event, Parser, html};

/// What looks like HTML is text.
pub(in crate::http) fn markdown(text: &str) -> Markup {
    let events = Parser::new(text).map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        other => other,
    });
    let mut written = String::new();
    html::push_html(&mut written, events);
    PreEscaped(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_lists_become_html_and_html_stays_text() {
        let written = markdown("Ends `a < b`, see <script>.\n\n- one\n- *two*").into_string();
        assert!(written.contains("<code>a &lt; b</code>"), "{written}");
        assert!(written.contains("<li><em>two</em></li>"), "{written}");
        assert!(written.contains("&lt;script&gt;"), "{written}");
    }
}
