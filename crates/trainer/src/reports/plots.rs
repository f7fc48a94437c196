//! Line plots with two horizontal axes: epochs below, examples seen above. Each
//! is written as SVG and as PNG, from the same drawing and with a font that is
//! part of the program, so that a machine without fonts draws the same.

use std::{
    fmt::Display,
    ops::Range,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use plotters::{
    coord::Shift,
    prelude::*,
    style::{FontStyle, register_font},
};

use crate::run::files;

const SIZE: (u32, u32) = (900, 560);
/// PNG has this many pixels for each unit of the drawing.
const PNG_SCALE: u32 = 2;
const TEXT: RGBColor = RGBColor(45, 50, 60);
const GRID: RGBColor = RGBColor(228, 231, 236);
/// Blue and orange that are told apart with every common colour blindness.
const COLORS: [RGBColor; 2] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0)];

/// A plot that cannot be drawn or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the plot {}: {reason}", path.display())]
pub struct PlotError {
    path: PathBuf,
    reason: String,
}

/// One line of a plot.
#[derive(Debug)]
pub(crate) struct Line {
    /// In the legend.
    pub name: &'static str,
    /// Epochs done, and the value.
    pub points: Vec<(f64, f64)>,
}

/// A plot of values over the epochs.
#[derive(Debug)]
pub(crate) struct Plot {
    /// Above the plot.
    pub title: &'static str,
    /// At the vertical axis, with its unit.
    pub y_label: &'static str,
    /// At most as many as there are colours.
    pub lines: Vec<Line>,
    /// End of the axis below.
    pub epochs: f64,
    /// Examples in an epoch, for the axis above.
    pub examples_per_epoch: f64,
    /// Values that the vertical axis shows in any case.
    pub y_range: Range<f64>,
}

impl Plot {
    /// Writes `<name>.svg` and `<name>.png` into `folder`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), PlotError> {
        let svg = folder.join(format!("{name}.svg"));
        let text = self.svg().map_err(|reason| PlotError { path: svg.clone(), reason })?;
        save(&svg, text.as_bytes())?;
        let png = folder.join(format!("{name}.png"));
        let bytes = self.png().map_err(|reason| PlotError { path: png.clone(), reason })?;
        save(&png, &bytes)
    }

    fn svg(&self) -> Result<String, String> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), 1)?;
        Ok(text)
    }

    fn png(&self) -> Result<Vec<u8>, String> {
        let size = (SIZE.0 * PNG_SCALE, SIZE.1 * PNG_SCALE);
        let mut pixels = vec![0; 3 * size.0 as usize * size.1 as usize];
        let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
        self.draw(area, PNG_SCALE)?;
        encode_png(&pixels, size)
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: DrawingArea<B, Shift>,
        scale: u32,
    ) -> Result<(), String> {
        use_own_font()?;
        area.fill(&WHITE).map_err(text)?;
        let font = |size: u32| ("sans-serif", size * scale).into_font().color(&TEXT);
        let y = self.y_axis();
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, font(20))
            .margin(16 * scale)
            .x_label_area_size(46 * scale)
            .top_x_label_area_size(46 * scale)
            .y_label_area_size(64 * scale)
            .build_cartesian_2d(0.0..self.epochs, y.clone())
            .map_err(text)?
            .set_secondary_coord(0.0..self.epochs * self.examples_per_epoch, y);
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.stroke_width(scale))
            .axis_style(TEXT.stroke_width(scale))
            .label_style(font(13))
            .axis_desc_style(font(14))
            .x_desc("Epochs")
            .y_desc(self.y_label)
            .x_label_formatter(&|epochs| short(*epochs))
            .y_label_formatter(&|value| short(*value))
            .draw()
            .map_err(text)?;
        chart
            .configure_secondary_axes()
            .axis_style(TEXT.stroke_width(scale))
            .label_style(font(13))
            .axis_desc_style(font(14))
            .x_desc("Examples seen")
            .x_label_formatter(&|examples| format!("{examples:.0}"))
            .draw()
            .map_err(text)?;
        for (line, color) in self.lines.iter().zip(COLORS) {
            let style = color.stroke_width(2 * scale);
            let mark = move |(x, y)| {
                let length = 24 * scale as i32;
                PathElement::new(vec![(x, y), (x + length, y)], style)
            };
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), style))
                .map_err(text)?
                .label(line.name)
                .legend(mark);
            let dots = line.points.iter();
            let dots = dots.map(|point| Circle::new(*point, 3 * scale, color.filled()));
            chart.draw_series(dots).map_err(text)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleRight)
            .legend_area_size(30 * scale)
            .margin(12 * scale)
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .label_font(font(14))
            .draw()
            .map_err(text)?;
        area.present().map_err(text)
    }

    /// All values and the wanted ones, with a little room.
    fn y_axis(&self) -> Range<f64> {
        let values = self.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((self.y_range.start, self.y_range.end), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let room = 0.04 * (high - low).max(1e-6);
        low - room..high + room
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// A number of an axis without needless zeros.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn use_own_font() -> Result<(), String> {
    static DONE: OnceLock<bool> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT).is_ok()
    });
    if *done { Ok(()) } else { Err("the program's font cannot be read".to_owned()) }
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

fn save(path: &Path, bytes: &[u8]) -> Result<(), PlotError> {
    files::write(path, bytes)
        .map_err(|error| PlotError { path: path.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        Plot {
            title: "Loss",
            y_label: "Loss (nats)",
            lines: vec![
                Line { name: "training", points: vec![(0.0, 0.9), (1.0, 0.4), (2.0, 0.1)] },
                Line { name: "validation", points: vec![(0.0, 0.8), (1.0, 0.5), (2.0, 0.3)] },
            ],
            epochs: 2.0,
            examples_per_epoch: 1040.0,
            y_range: 0.0..0.1,
        }
    }

    #[test]
    fn both_axes_and_both_lines_are_named() {
        let svg = plot().svg().unwrap();
        for word in ["Epochs", "Examples seen", "Loss (nats)", "training", "validation", "2000"] {
            assert!(svg.contains(word), "{word} is not in the plot");
        }
    }

    #[test]
    fn the_files_are_whole_and_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        plot().write(folder.path(), "a").unwrap();
        plot().write(folder.path(), "b").unwrap();
        for end in ["svg", "png"] {
            let [a, b] = ["a", "b"]
                .map(|name| std::fs::read(folder.path().join(format!("{name}.{end}"))).unwrap());
            assert!(a == b, "{end} differs");
        }
        let bytes = std::fs::read(folder.path().join("a.png")).unwrap();
        let mut png = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; png.output_buffer_size().unwrap()];
        let info = png.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (1800, 1120));
        for color in COLORS {
            let color = [color.0, color.1, color.2];
            assert!(pixels.chunks(3).any(|pixel| pixel == color), "{color:?} is missing");
        }
    }

    #[test]
    fn a_plot_of_one_point_or_none_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let one = Line { name: "training", points: vec![(1.0, 1.0)] };
        let none = Line { name: "validation", points: vec![] };
        let plot = Plot { lines: vec![one, none], ..plot() };
        plot.write(folder.path(), "few").unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = plot().write(Path::new("/nowhere"), "loss").unwrap_err().to_string();
        assert!(error.starts_with("cannot write the plot /nowhere/loss.svg: "), "{error}");
    }
}
