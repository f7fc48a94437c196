//! Line plots, rendered as SVG and PNG from the same drawing, with a font that is part of
//! the binary, so that a machine without fonts renders the same.

use std::{fmt::Display, ops::Range, sync::OnceLock};

use plotters::{
    chart::SeriesAnno,
    coord::{Shift, types::RangedCoordf64},
    drawing::DrawingAreaErrorKind,
    prelude::*,
    style::{FontStyle, register_font},
};

/// Pixels of a PNG for each unit of the drawing.
const PNG_SCALE: u32 = 2;
/// Color of text and axes.
const TEXT: RGBColor = RGBColor(45, 50, 60);
/// Color of grid lines.
const GRID: RGBColor = RGBColor(228, 231, 236);
/// Opacity of a filled area, through which the grid is seen.
const AREA_OPACITY: f64 = 0.3;
/// Colors of series, distinguishable with every common color blindness (Okabe and Ito).
pub(super) const COLORS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(110, 80, 50),
    RGBColor(90, 95, 105),
];

/// Error of rendering a plot.
#[derive(Debug, thiserror::Error)]
#[error("cannot render the plot {title:?}: {reason}")]
pub struct PlotError {
    /// Title of the plot.
    pub title: &'static str,
    /// Message of the renderer.
    pub reason: String,
}

/// One line of a plot.
#[derive(Debug)]
pub(crate) struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points, `(x, y)`.
    pub points: Vec<(f64, f64)>,
    /// Style.
    pub style: SeriesStyle,
}

/// Style of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeriesStyle {
    /// Colored line.
    Line,
    /// Colored line with a dot at each point.
    LineWithDots,
    /// Colored line, with the area that it encloses filled.
    Area,
    /// Dashed gray line for comparison.
    Reference,
}

/// Line plot.
#[derive(Debug)]
pub(crate) struct Plot {
    /// Title above the plot.
    pub title: &'static str,
    /// Label of the horizontal axis.
    pub x_label: &'static str,
    /// Label of the vertical axis.
    pub y_label: &'static str,
    /// Range of the horizontal axis.
    pub x_range: Range<f64>,
    /// Range of the vertical axis.
    pub y_range: Range<f64>,
    /// Second horizontal axis at the top: its label, and its units per unit of the first.
    pub top_axis: Option<(&'static str, f64)>,
    /// Series, of which at most [`COLORS`] colored ones.
    pub series: Vec<Series>,
    /// Position of the legend.
    pub legend: SeriesLabelPosition,
    /// Width and height in units of the drawing.
    pub size: (u32, u32),
}

impl Plot {
    /// Renders the plot as SVG.
    pub fn svg(&self) -> Result<String, PlotError> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, self.size).into_drawing_area(), 1)
            .map_err(|reason| self.error(reason))?;
        Ok(text)
    }

    /// Renders the plot as PNG.
    pub fn png(&self) -> Result<Vec<u8>, PlotError> {
        let size = (self.size.0 * PNG_SCALE, self.size.1 * PNG_SCALE);
        let mut pixels = vec![0; 3 * size.0 as usize * size.1 as usize];
        let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        self.draw(area, PNG_SCALE)
            .and_then(|()| encode_png(&pixels, size))
            .map_err(|reason| self.error(reason))
    }

    fn error(&self, reason: String) -> PlotError {
        PlotError { title: self.title, reason }
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: DrawingArea<B, Shift>,
        scale: u32,
    ) -> Result<(), String> {
        register_embedded_font()?;
        area.fill(&WHITE).map_err(text)?;
        let font = |size: u32| ("sans-serif", size * scale).into_font().color(&TEXT);
        let (top_label, top_units) = self.top_axis.unwrap_or(("", 1.0));
        let top_range = self.x_range.start * top_units..self.x_range.end * top_units;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, font(20))
            .margin(16 * scale)
            .x_label_area_size(46 * scale)
            .top_x_label_area_size(if self.top_axis.is_some() { 46 * scale } else { 0 })
            .y_label_area_size(64 * scale)
            .build_cartesian_2d(self.x_range.clone(), self.y_range.clone())
            .map_err(text)?
            .set_secondary_coord(top_range, self.y_range.clone());
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(scale))
            .axis_style(TEXT.stroke_width(scale))
            .label_style(font(13))
            .axis_desc_style(font(14))
            .x_desc(self.x_label)
            .y_desc(self.y_label)
            .x_label_formatter(&|x| short(*x))
            .y_label_formatter(&|y| short(*y))
            .draw()
            .map_err(text)?;
        if self.top_axis.is_some() {
            chart
                .configure_secondary_axes()
                .axis_style(TEXT.stroke_width(scale))
                .label_style(font(13))
                .axis_desc_style(font(14))
                .x_desc(top_label)
                .x_label_formatter(&|x| format!("{x:.0}"))
                .draw()
                .map_err(text)?;
        }
        let mut colors = COLORS.iter().cycle();
        for series in &self.series {
            let style = match series.style {
                SeriesStyle::Reference => TEXT.mix(0.6).stroke_width(scale),
                _ => colors.next().unwrap_or(&TEXT).stroke_width(2 * scale),
            };
            let drawn = draw_series(&mut chart, series, style, scale).map_err(text)?;
            let length = 24 * scale as i32;
            drawn
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + length, y)], style));
        }
        chart
            .configure_series_labels()
            .position(self.legend.clone())
            .legend_area_size(30 * scale)
            .margin(12 * scale)
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .label_font(font(14))
            .draw()
            .map_err(text)?;
        area.present().map_err(text)
    }
}

type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw_series<'c, 'a, B: DrawingBackend>(
    chart: &'c mut Chart<'a, B>,
    series: &Series,
    style: ShapeStyle,
    scale: u32,
) -> Result<&'c mut SeriesAnno<'a, B>, DrawingAreaErrorKind<B::ErrorType>> {
    let points = series.points.iter().copied();
    let line =
        |dot_size| LineSeries::new(points.clone(), style.filled()).point_size(dot_size * scale);
    match series.style {
        SeriesStyle::Line => chart.draw_series(line(0)),
        SeriesStyle::LineWithDots => chart.draw_series(line(3)),
        SeriesStyle::Area => {
            let fill = style.color.mix(AREA_OPACITY);
            chart.draw_series([Polygon::new(series.points.as_slice(), fill)])?;
            chart.draw_series(line(0))
        }
        SeriesStyle::Reference => {
            chart.draw_series(DashedLineSeries::new(points, 5 * scale, 4 * scale, style))
        }
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// Formats a number of an axis without trailing zeros.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn register_embedded_font() -> Result<(), String> {
    static IS_REGISTERED: OnceLock<bool> = OnceLock::new();
    let is_registered = IS_REGISTERED.get_or_init(|| {
        register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok()
    });
    if *is_registered { Ok(()) } else { Err("the embedded font is invalid".to_owned()) }
}

fn encode_png(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(text)?;
    writer.write_image_data(pixels).map_err(text)?;
    writer.finish().map_err(text)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        let style = SeriesStyle::LineWithDots;
        Series { name: name.to_owned(), points: points.to_vec(), style }
    }

    fn plot() -> Plot {
        Plot {
            title: "Loss",
            x_label: "Epochs",
            y_label: "Loss (nats)",
            x_range: 0.0..2.0,
            y_range: 0.0..1.0,
            top_axis: Some(("Examples seen", 1040.0)),
            series: vec![
                series("training", &[(0.0, 0.9), (1.0, 0.4), (2.0, 0.1)]),
                series("validation", &[(0.0, 0.8), (1.0, 0.5), (2.0, 0.3)]),
            ],
            legend: SeriesLabelPosition::MiddleRight,
            size: (900, 560),
        }
    }

    #[test]
    fn axes_and_series_are_labeled() {
        let svg = plot().svg().unwrap();
        for word in ["Epochs", "Examples seen", "Loss (nats)", "training", "validation", "2000"] {
            assert!(svg.contains(word), "{word} is not in the plot");
        }
        let svg = Plot { top_axis: None, ..plot() }.svg().unwrap();
        assert!(
            svg.contains("Epochs") && !svg.contains("Examples seen") && !svg.contains("\n2000\n")
        );
    }

    #[test]
    fn rendering_is_deterministic_and_png_is_valid() {
        assert_eq!(plot().svg().unwrap(), plot().svg().unwrap());
        let bytes = plot().png().unwrap();
        assert!(bytes == plot().png().unwrap());
        let mut png = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; png.output_buffer_size().unwrap()];
        let info = png.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (1800, 1120));
        for color in &COLORS[..2] {
            let color = [color.0, color.1, color.2];
            assert!(pixels.chunks(3).any(|pixel| pixel == color), "{color:?} is missing");
        }
    }

    #[test]
    fn single_points_and_empty_series_are_rendered() {
        let series = vec![series("training", &[(1.0, 1.0)]), series("validation", &[])];
        let plot = Plot { series, ..plot() };
        plot.svg().unwrap();
        plot.png().unwrap();
    }
}
