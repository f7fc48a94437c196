//! A square plot of parts of one against parts of one, as SVG: its frame, and where
//! a point lies in it. Colours come from the style sheet of the page, so that they
//! follow light and dark.

use maud::{Markup, html};

/// Side of the plotted square, in units of the drawing.
const SIDE: f64 = 400.0;
/// Room for the labels at the left and below.
const ROOM: f64 = 62.0;
/// Room above and at the right, so that nothing at the border is cut.
const BORDER: f64 = 14.0;

/// What a plot says beside its lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// Unique in the page.
    pub id: &'a str,
    /// For those who do not see the plot: what it is.
    pub title: &'a str,
    /// For them too: what it shows.
    pub description: &'a str,
    /// Below the horizontal axis.
    pub x: &'a str,
    /// Beside the vertical axis.
    pub y: &'a str,
}

impl Frame<'_> {
    /// The plot with `lines` in it, and the diagonal over them: bars would hide it.
    pub fn draw(&self, lines: &Markup) -> Markup {
        let size = format!("0 0 {0} {0}", short(ROOM + SIDE + BORDER));
        let (title, description) =
            (format!("{}-title", self.id), format!("{}-description", self.id));
        let middle = at(0.5);
        let left = format!("translate(16 {}) rotate(-90)", short(y(0.5)));
        html! {
            svg viewBox=(size) role="img" aria-labelledby=(title) aria-describedby=(description) {
                title id=(title) { (self.title) }
                desc id=(description) { (self.description) }
                @for step in 0..=4u8 { (tick(f64::from(step) / 4.0)) }
                (lines)
                line.chance x1=(at(0.0)) y1=(down(0.0)) x2=(at(1.0)) y2=(down(1.0)) {}
                text x=(middle) y=(short(BORDER + SIDE + 46.0)) text-anchor="middle" { (self.x) }
                text transform=(left) text-anchor="middle" { (self.y) }
            }
        }
    }
}

/// A line of the grid in both directions, with its number.
fn tick(value: f64) -> Markup {
    let number = format!("{value}");
    html! {
        line.grid x1=(at(value)) y1=(down(0.0)) x2=(at(value)) y2=(down(1.0)) {}
        line.grid x1=(at(0.0)) y1=(down(value)) x2=(at(1.0)) y2=(down(value)) {}
        text x=(at(value)) y=(short(y(0.0) + 20.0)) text-anchor="middle" { (number) }
        text x=(short(ROOM - 8.0)) y=(short(y(value) + 4.5)) text-anchor="end" { (number) }
    }
}

fn y(value: f64) -> f64 {
    BORDER + SIDE * (1.0 - value)
}

/// Where a value from 0 to 1 lies on the horizontal axis.
pub(super) fn at(value: f64) -> String {
    short(ROOM + SIDE * value)
}

/// Where a value from 0 to 1 lies on the vertical axis.
pub(super) fn down(value: f64) -> String {
    short(y(value))
}

/// How long a distance from 0 to 1 is.
pub(super) fn length(value: f64) -> String {
    short(SIDE * value)
}

/// A coordinate to a tenth of a unit, without needless zeros.
fn short(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corners_are_where_they_should_be() {
        assert_eq!([at(0.0), down(0.0)], ["62", "414"]);
        assert_eq!([at(1.0), down(1.0)], ["462", "14"]);
        assert_eq!(at(0.123), "111.2");
        assert_eq!(length(0.5), "200");
    }

    #[test]
    fn a_plot_says_what_it_is() {
        let frame = Frame { id: "a", title: "T", description: "<D>", x: "X", y: "Y" };
        let svg = frame.draw(&html! {}).into_string();
        assert!(svg.contains(r#"aria-labelledby="a-title""#));
        assert!(svg.contains(r#"<title id="a-title">T</title>"#));
        assert!(svg.contains("&lt;D&gt;"));
        for number in ["0", "0.25", "0.5", "0.75", "1"] {
            assert_eq!(svg.matches(&format!(">{number}</text>")).count(), 2, "{number}");
        }
    }
}
