//! Shape of a GPT-2 model: the `config.json` of the Hugging Face layout.

use std::{io::ErrorKind, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    error::{ConfigProblem, Error, Result},
    token_ids::{self, TokenIds},
};

/// Non-linearity of the feed-forward layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// GELU in its tanh approximation (Hendrycks and Gimpel 2016), GPT-2's own.
    #[default]
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluNew,
    /// GELU by the error function.
    #[serde(alias = "gelu_python")]
    Gelu,
    /// GELU in its sigmoid approximation `x σ(1.702 x)`.
    QuickGelu,
    /// Rectified linear unit.
    Relu,
    /// Sigmoid linear unit `x σ(x)`.
    #[serde(alias = "swish")]
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

/// Shape of a GPT-2 model, with the field names of `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gpt2Config {
    /// Tokens in the vocabulary.
    pub vocab_size: i64,
    /// Longest sequence, in tokens: the context length.
    pub n_positions: i64,
    /// Width of the hidden states.
    pub n_embd: i64,
    /// Number of transformer blocks.
    pub n_layer: i64,
    /// Attention heads in a block; divides `n_embd`.
    pub n_head: i64,
    /// Width of the feed-forward layer; `4 * n_embd` where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_inner: Option<i64>,
    /// Non-linearity of the feed-forward layer.
    #[serde(default)]
    pub activation_function: Activation,
    /// ε of the layer norms.
    #[serde(default = "default_epsilon")]
    pub layer_norm_epsilon: f64,
    /// Attention scores are divided by √(head width).
    #[serde(default = "default_true")]
    pub scale_attn_weights: bool,
    /// Attention scores are divided by the number of the block, from 1, too.
    #[serde(default)]
    pub scale_attn_by_inverse_layer_idx: bool,
    /// The language-model head is the token embedding. If not, it has a tensor of its own, which
    /// models for other tasks lack.
    #[serde(default = "default_true")]
    pub tie_word_embeddings: bool,
    /// Token that begins a text. The vocabulary may lack it: see [`Gpt2Config::beginning_of_text`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bos_token_id: Option<i64>,
    /// Tokens that end a text. The vocabulary may lack them: see [`Gpt2Config::ends_of_text`].
    #[serde(default, skip_serializing_if = "TokenIds::is_empty")]
    pub eos_token_id: TokenIds,
    /// Token that fills a batch. The vocabulary may lack it: see [`Gpt2Config::padding`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pad_token_id: Option<i64>,
    /// The architecture's name; `gpt2` where given.
    #[serde(default = "default_model_type")]
    pub model_type: String,
}

/// `<|endoftext|>`, the last token of GPT-2's tokenizer, which begins, ends and fills texts.
/// A vocabulary may be padded with tokens behind it that no text has.
const END_OF_TEXT: i64 = 50_256;

fn default_epsilon() -> f64 {
    1e-5
}

fn default_true() -> bool {
    true
}

fn default_model_type() -> String {
    "gpt2".to_owned()
}

/// The setting that every `config.json` has, and the others.
#[derive(Deserialize)]
struct Architecture {
    #[serde(default = "default_model_type")]
    model_type: String,
    #[serde(flatten)]
    settings: Map<String, Value>,
}

/// Limits of sizes; larger ones come from damaged files and are refused before memory is
/// allocated.
const MAX_WIDTH: i64 = 1 << 17;
const MAX_LAYERS: i64 = 1 << 12;
const MAX_VOCABULARY: i64 = 1 << 24;

/// Limit of the number of parameters, 4 TB of float32.
const MAX_PARAMETERS: i128 = 1 << 40;

/// Reads a `config.json` as text.
///
/// # Errors
/// [`Error::Storage`] if it cannot be read, [`Error::Config`] if it is too large.
pub fn read_text(path: &Path) -> Result<String> {
    storage::read_limited_text(path).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => Error::Config {
            origin: path.display().to_string(),
            problem: ConfigProblem::TooLarge { reason: error.into_io().to_string() },
        },
        _ => error.into(),
    })
}

impl Gpt2Config {
    /// Published models that [`Gpt2Config::named`] knows.
    pub const NAMES: [&str; 4] = ["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"];

    /// Returns the shape of a published model (Radford et al. 2019, table 2): 124, 355,
    /// 774 and 1,558 million parameters.
    pub fn named(name: &str) -> Option<Self> {
        let (n_embd, n_layer, n_head) = match name {
            "gpt2" => (768, 12, 12),
            "gpt2-medium" => (1024, 24, 16),
            "gpt2-large" => (1280, 36, 20),
            "gpt2-xl" => (1600, 48, 25),
            _ => return None,
        };
        Some(Self {
            vocab_size: 50_257,
            n_positions: 1024,
            n_embd,
            n_layer,
            n_head,
            n_inner: None,
            activation_function: Activation::GeluNew,
            layer_norm_epsilon: default_epsilon(),
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            tie_word_embeddings: true,
            bos_token_id: Some(END_OF_TEXT),
            eos_token_id: END_OF_TEXT.into(),
            pad_token_id: None,
            model_type: default_model_type(),
        })
    }

    /// Reads and checks a `config.json`.
    ///
    /// # Errors
    /// [`Error::Storage`] if the file cannot be read, [`Error::Config`] if it does
    /// not describe a GPT-2.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::parse(&read_text(path)?, &path.display().to_string())
    }

    /// Reads and checks the text of a `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] if it does not describe a GPT-2.
    pub fn from_json(text: &str) -> Result<Self> {
        Self::parse(text, "config")
    }

    /// Reads and checks the text of a `config.json`, which `origin` names in errors.
    ///
    /// # Errors
    /// [`Error::Config`] if it does not describe a GPT-2.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let fail = |problem| Error::Config { origin: origin.to_owned(), problem };
        let json =
            |error: serde_json::Error| fail(ConfigProblem::Json { reason: error.to_string() });
        // Other architectures lack settings of this one: they are recognized by their name.
        let Architecture { model_type, settings } = serde_json::from_str(text).map_err(json)?;
        if model_type != "gpt2" {
            return Err(fail(ConfigProblem::ModelType { model_type }));
        }
        if let Some(problem) = token_ids::problem(&settings) {
            return Err(fail(problem));
        }
        let config: Self = serde_json::from_str(text).map_err(json)?;
        config.check().map_err(fail)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigProblem> {
        let sizes = [
            ("vocab_size", self.vocab_size, MAX_VOCABULARY),
            ("n_positions", self.n_positions, MAX_VOCABULARY),
            ("n_embd", self.n_embd, MAX_WIDTH),
            ("n_layer", self.n_layer, MAX_LAYERS),
            ("n_head", self.n_head, MAX_WIDTH),
            ("n_inner", self.inner(), 4 * MAX_WIDTH),
        ];
        for (name, value, most) in sizes {
            if value < 1 || value > most {
                return Err(ConfigProblem::Size { name, value, most });
            }
        }
        let parameters = self.parameters();
        if parameters > MAX_PARAMETERS {
            return Err(ConfigProblem::Parameters { parameters, most: MAX_PARAMETERS });
        }
        if self.n_embd % self.n_head != 0 {
            return Err(ConfigProblem::Heads { n_embd: self.n_embd, n_head: self.n_head });
        }
        if !self.layer_norm_epsilon.is_finite() || self.layer_norm_epsilon <= 0.0 {
            return Err(ConfigProblem::Epsilon(self.layer_norm_epsilon));
        }
        Ok(())
    }

    /// Number of parameters in the matrices of the model.
    fn parameters(&self) -> i128 {
        let [vocabulary, positions, dim, layers, inner] =
            [self.vocab_size, self.n_positions, self.n_embd, self.n_layer, self.inner()]
                .map(i128::from);
        let heads = if self.tie_word_embeddings { 1 } else { 2 };
        (heads * vocabulary + positions) * dim + layers * (4 * dim + 2 * inner) * dim
    }

    /// Returns whether the vocabulary has a token.
    pub fn has_token(&self, id: i64) -> bool {
        (0..self.vocab_size).contains(&id)
    }

    /// Token that begins a text: the one of the configuration, if the vocabulary has it, else the first
    /// that ends a text.
    pub fn beginning_of_text(&self) -> Option<i64> {
        let id = self.bos_token_id.filter(|&id| self.has_token(id));
        id.or_else(|| self.ends_of_text().0.first().copied())
    }

    /// Tokens that end a text: the ids of the configuration that the vocabulary has, else GPT-2's token,
    /// if the vocabulary has it.
    pub fn ends_of_text(&self) -> TokenIds {
        let mut ends = self.eos_token_id.clone();
        ends.0.retain(|&id| self.has_token(id));
        if ends.is_empty() && self.has_token(END_OF_TEXT) {
            return END_OF_TEXT.into();
        }
        ends
    }

    /// Padding token: the one of the configuration, if the vocabulary has it, else GPT-2's
    /// end-of-text token.
    pub fn padding(&self) -> Option<i64> {
        let ids = [self.pad_token_id, Some(END_OF_TEXT)];
        ids.into_iter().flatten().find(|&id| self.has_token(id))
    }

    /// Width of the feed-forward layer.
    pub fn inner(&self) -> i64 {
        self.n_inner.unwrap_or_else(|| self.n_embd.saturating_mul(4))
    }

    /// Width of one attention head.
    pub fn head_dim(&self) -> i64 {
        self.n_embd / self.n_head
    }

    /// Factor on the attention scores of block `layer` (from 0).
    pub fn attention_scale(&self, layer: i64) -> f64 {
        let width = if self.scale_attn_weights { (self.head_dim() as f64).sqrt() } else { 1.0 };
        let depth = if self.scale_attn_by_inverse_layer_idx { (layer + 1) as f64 } else { 1.0 };
        1.0 / (width * depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: &str) -> Result<Gpt2Config> {
        let base = r#"{"vocab_size": 10, "n_positions": 4, "n_embd": 6, "n_layer": 1, "n_head": 2"#;
        Gpt2Config::from_json(&format!("{base}{change}}}"))
    }

    fn problem(config: Result<Gpt2Config>) -> ConfigProblem {
        match config {
            Err(Error::Config { problem, .. }) => problem,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn missing_settings_have_the_values_of_gpt2() {
        let config = config("").unwrap();
        assert_eq!(config.inner(), 24);
        assert_eq!(config.activation_function, Activation::GeluNew);
        assert_eq!(config.attention_scale(3), 1.0 / 3f64.sqrt());
    }

    #[test]
    fn invalid_settings_are_refused() {
        use ConfigProblem as P;
        let most = 4 * MAX_WIDTH;
        for (change, expected) in [
            (r#", "model_type": "llama""#, P::ModelType { model_type: "llama".to_owned() }),
            (
                r#", "model_type": "bert", "n_layer": "x""#,
                P::ModelType { model_type: "bert".to_owned() },
            ),
            (r#", "n_inner": 0"#, P::Size { name: "n_inner", value: 0, most }),
            (
                r#", "n_inner": 99999999999"#,
                P::Size { name: "n_inner", value: 99_999_999_999, most },
            ),
            (r#", "layer_norm_epsilon": -1"#, P::Epsilon(-1.0)),
        ] {
            assert_eq!(problem(config(change)), expected);
        }
        let odd = r#"{"vocab_size": 9, "n_positions": 4, "n_embd": 7, "n_layer": 1, "n_head": 2}"#;
        assert_eq!(problem(Gpt2Config::from_json(odd)), P::Heads { n_embd: 7, n_head: 2 });
        assert!(matches!(problem(Gpt2Config::from_json("{")), P::Json { .. }));
        let activation = problem(config(r#", "activation_function": "mish""#));
        assert!(matches!(&activation, P::Json { reason } if reason.contains("mish")));
    }

    #[test]
    fn special_tokens_are_an_id_or_a_list_of_ids() {
        for (value, expected) in [
            ("7", vec![7]),
            ("[9, 7]", vec![9, 7]),
            ("null", vec![]),
            // Published models have the ids of another vocabulary, or -1.
            ("50256", vec![50_256]),
            ("-1", vec![-1]),
            ("[-1, 7]", vec![-1, 7]),
        ] {
            let config = config(&format!(r#", "eos_token_id": {value}"#)).unwrap();
            let known: Vec<i64> =
                expected.iter().copied().filter(|id| (0..10).contains(id)).collect();
            assert_eq!(config.ends_of_text(), TokenIds(known), "{value}");
            assert_eq!(config.beginning_of_text(), config.ends_of_text().0.first().copied());
            let written = serde_json::to_value(&config).unwrap();
            let read: serde_json::Value = serde_json::from_str(value).unwrap();
            assert_eq!(written.get("eos_token_id").cloned().unwrap_or_default(), read);
            assert_eq!(config.eos_token_id, TokenIds(expected), "{value}");
        }
        let config = config(r#", "bos_token_id": 10, "pad_token_id": -1"#).unwrap();
        assert_eq!((config.beginning_of_text(), config.padding()), (None, None));
    }

    #[test]
    fn values_that_are_not_token_ids_are_refused() {
        for name in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            let may_be_list = name == "eos_token_id";
            let lists = ["[1]", "[1, 2]"].into_iter().filter(|_| !may_be_list);
            for value in ["[]", "1.5", "true", "{}", "[1, null]", "[[1]]", "18446744073709551615"]
                .into_iter()
                .chain(["\"<|endoftext|>\""])
                .chain(lists)
            {
                let setting = format!(r#""{name}": {value}"#);
                let expected =
                    ConfigProblem::TokenId { name, may_be_list, value: value.replace(", ", ",") };
                assert_eq!(problem(config(&format!(", {setting}"))), expected, "{setting}");
                let generation = format!("{{{setting}}}");
                match crate::check_special_tokens(&generation, "generation_config.json") {
                    Err(Error::Config { problem, .. }) => assert_eq!(problem, expected),
                    other => panic!("{setting}: {other:?}"),
                }
            }
        }
        for damaged in ["{", "[]", "7"] {
            let error = crate::check_special_tokens(damaged, "generation_config.json").unwrap_err();
            let is_it =
                matches!(&error, Error::Config { problem: ConfigProblem::Settings { .. }, .. });
            assert!(is_it, "{damaged}: {error}");
        }
    }

    #[test]
    fn attention_scale_can_shrink_with_depth() {
        let config = config(r#", "scale_attn_by_inverse_layer_idx": true"#).unwrap();
        assert!((config.attention_scale(1) - 0.5 / 3f64.sqrt()).abs() < 1e-12);
    }
}
