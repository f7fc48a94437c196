//! Tensors of a pickle, read without executing anything.
//!
//! A pickle is a program for a stack machine that can call any function of Python. This
//! machine has data and the few functions that PyTorch uses to describe tensors; anything
//! else is refused by its name. Containers live in one list and refer to each other by
//! number, so that neither depth nor repetition costs more than the file's own length.

use std::collections::{BTreeMap, HashMap};

use safetensors::Dtype;

use crate::error::PickleProblem;

/// Tensor as a pickle describes it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PickledTensor {
    pub dtype: Dtype,
    /// Name of the file with its storage.
    pub storage: String,
    /// First element in the storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// Value on the stack; text, containers and the like are numbers of what the machine holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    None,
    Bool,
    Int(i64),
    Float,
    Text(usize),
    Function(Function),
    Storage(usize),
    Tensor(usize),
    Container(usize),
    Mark,
}

/// Functions that a checkpoint may name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    StorageType(Dtype),
}

/// Limits far above what PyTorch writes. Values may be repeated by reference, so that what is
/// copied has to be short.
const MAX_ARGUMENTS: usize = 8;
const MAX_DIMENSIONS: usize = 64;
const MAX_KEY: usize = 64;

/// Keys under which training programs store the parameters of a model.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// Reads the tensors of a pickled dictionary, or of one below a key such as `state_dict`.
///
/// # Errors
/// [`PickleProblem`] for a pickle that is damaged, or names anything but tensors.
pub(crate) fn tensors(bytes: &[u8]) -> Result<Vec<(String, PickledTensor)>, PickleProblem> {
    let mut machine = Machine { bytes, ..Machine::default() };
    let top = machine.run()?;
    let mut items = machine.items(top).ok_or(PickleProblem::NotADictionary)?;
    let inner = WRAPPERS.iter().find_map(|key| items.get(key).copied());
    if let Some(inner @ Value::Container(_)) = inner {
        items = machine.items(inner).ok_or(PickleProblem::NotADictionary)?;
    }
    let tensor = |(name, value): (&str, Value)| match value {
        Value::Tensor(number) => Some((name.to_owned(), machine.tensors.get(number)?.clone())),
        _ => None,
    };
    let tensors: Vec<_> = items.into_iter().filter_map(tensor).collect();
    if tensors.is_empty() { Err(PickleProblem::NotADictionary) } else { Ok(tensors) }
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    stack: Vec<Value>,
    memo: HashMap<u64, Value>,
    texts: Vec<String>,
    storages: Vec<(Dtype, String)>,
    tensors: Vec<PickledTensor>,
    /// Tuples, lists and dictionaries, the latter as keys and values in turn.
    containers: Vec<Vec<Value>>,
}

type Step<T = ()> = Result<T, PickleProblem>;

/// Problem of a pickle that ends within an instruction or takes more than the stack has.
const ENDS_EARLY: PickleProblem = PickleProblem::Damaged("it ends too early");
/// Problem of a size or an offset.
const NEGATIVE: PickleProblem = PickleProblem::Damaged("a size or an offset is negative");
/// Problem of a reference to nothing.
const NO_VALUE: PickleProblem =
    PickleProblem::Damaged("it refers to a value that it does not have");

impl Machine<'_> {
    /// Runs until the end of the program and returns its result.
    fn run(&mut self) -> Step<Value> {
        loop {
            let code = self.byte()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Step {
        match code {
            // PROTO and FRAME
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.stack.push(Value::Mark),
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool),
            b'J' | b'K' | b'M' | 0x8a => self.integer(code)?,
            b'G' => {
                self.take(8)?;
                self.stack.push(Value::Float);
            }
            b'X' | 0x8c => {
                let length = self.number(if code == b'X' { 4 } else { 1 })?;
                let text = self.text(length)?;
                self.push_text(text);
            }
            b'}' | b']' | b')' => self.push_container(Vec::new()),
            b't' | 0x85..=0x87 => {
                let items = match code {
                    b't' => self.pop_to_mark()?,
                    code => self.pop_many(usize::from(code - 0x84))?,
                };
                self.push_container(items);
            }
            b'a' | b's' | b'e' | b'u' => self.extend(code)?,
            b'q' | b'r' | 0x94 => {
                let key = match code {
                    0x94 => self.memo.len() as u64,
                    code => self.number(if code == b'q' { 1 } else { 4 })?,
                };
                let top = *self.stack.last().ok_or(ENDS_EARLY)?;
                self.memo.insert(key, top);
            }
            b'h' | b'j' => {
                let key = self.number(if code == b'h' { 1 } else { 4 })?;
                let value = self.memo.get(&key).ok_or(NO_VALUE)?;
                self.stack.push(*value);
            }
            b'c' | 0x93 => self.function(code)?,
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            // BUILD sets attributes, such as the versions of modules, which say nothing here.
            b'b' => drop(self.pop()?),
            code => return Err(PickleProblem::Instruction(code)),
        }
        Ok(())
    }

    fn integer(&mut self, code: u8) -> Step {
        let value = match code {
            b'K' => self.number(1)? as i64,
            b'M' => self.number(2)? as i64,
            b'J' => i64::from(self.number(4)? as u32 as i32),
            _ => {
                let length = self.number(1)?;
                let mut digits = [0; 8];
                let bytes = self.take(length)?;
                digits
                    .get_mut(..bytes.len())
                    .ok_or(PickleProblem::Damaged("a number has more than 64 bits"))?
                    .copy_from_slice(bytes);
                // Two's complement: the last byte has the sign.
                let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                if is_negative {
                    digits[bytes.len()..].fill(0xff);
                }
                i64::from_le_bytes(digits)
            }
        };
        self.stack.push(Value::Int(value));
        Ok(())
    }

    /// Adds items to the list or dictionary below them.
    fn extend(&mut self, code: u8) -> Step {
        let items = match code {
            b'a' => self.pop_many(1)?,
            b's' => self.pop_many(2)?,
            _ => self.pop_to_mark()?,
        };
        let Some(Value::Container(number)) = self.stack.last() else {
            return Err(PickleProblem::Damaged("it adds items to something else than a container"));
        };
        let container = self.containers.get_mut(*number).ok_or(NO_VALUE)?;
        container.extend(items);
        Ok(())
    }

    /// GLOBAL and STACK_GLOBAL: a function by name.
    fn function(&mut self, code: u8) -> Step {
        let [module, name] = match code {
            b'c' => [self.line()?, self.line()?],
            _ => {
                let name = self.pop_text()?;
                [self.pop_text()?, name]
            }
        };
        let function = match (module.as_str(), name.as_str()) {
            ("collections", "OrderedDict") => Function::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Function::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Function::RebuildParameter,
            ("torch", name) => match storage_type(name) {
                Some(dtype) => Function::StorageType(dtype),
                None => return Err(PickleProblem::ForeignName { module, name: name.to_owned() }),
            },
            _ => return Err(PickleProblem::ForeignName { module, name }),
        };
        self.stack.push(Value::Function(function));
        Ok(())
    }

    /// BINPERSID: `("storage", type, key, location, elements)`.
    fn storage(&mut self) -> Step {
        const NO_STORAGE: PickleProblem =
            PickleProblem::Damaged("it refers to something else than a storage");
        let Value::Container(number) = self.pop()? else { return Err(NO_STORAGE) };
        match self.containers.get(number).map(Vec::as_slice) {
            Some(
                [
                    Value::Text(kind),
                    Value::Function(Function::StorageType(dtype)),
                    Value::Text(key),
                    ..,
                ],
            ) if self.texts[*kind] == "storage" && self.texts[*key].len() <= MAX_KEY => {
                self.storages.push((*dtype, self.texts[*key].clone()));
                self.stack.push(Value::Storage(self.storages.len() - 1));
                Ok(())
            }
            _ => Err(NO_STORAGE),
        }
    }

    /// REDUCE: calls a function.
    fn call(&mut self) -> Step {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let Value::Container(arguments) = arguments else {
            return Err(PickleProblem::Damaged("a function has no arguments"));
        };
        let arguments = self.containers.get(arguments).ok_or(NO_VALUE)?;
        if arguments.len() > MAX_ARGUMENTS {
            return Err(PickleProblem::TooMany {
                count: arguments.len(),
                unit: "arguments",
                most: MAX_ARGUMENTS,
            });
        }
        let arguments = arguments.clone();
        match (function, arguments.as_slice()) {
            (Value::Function(Function::OrderedDict), []) => self.push_container(Vec::new()),
            (Value::Function(Function::RebuildParameter), [tensor @ Value::Tensor(_), ..]) => {
                self.stack.push(*tensor);
            }
            (
                Value::Function(Function::RebuildTensor),
                [Value::Storage(storage), Value::Int(offset), shape, strides, ..],
            ) => {
                let (dtype, storage) = self.storages.get(*storage).cloned().ok_or(NO_VALUE)?;
                let offset = usize::try_from(*offset).map_err(|_| NEGATIVE)?;
                let (shape, strides) = (self.sizes(*shape)?, self.sizes(*strides)?);
                let tensor = PickledTensor { dtype, storage, offset, shape, strides };
                self.tensors.push(tensor);
                self.stack.push(Value::Tensor(self.tensors.len() - 1));
            }
            _ => return Err(PickleProblem::Damaged("a call does not create a tensor")),
        }
        Ok(())
    }

    fn sizes(&self, value: Value) -> Step<Vec<usize>> {
        let Value::Container(number) = value else {
            return Err(PickleProblem::Damaged("a tensor has no shape"));
        };
        let sizes = self.containers.get(number).ok_or(NO_VALUE)?;
        if sizes.len() > MAX_DIMENSIONS {
            return Err(PickleProblem::TooMany {
                count: sizes.len(),
                unit: "dimensions",
                most: MAX_DIMENSIONS,
            });
        }
        let sizes = sizes.iter().map(|value| match value {
            Value::Int(size) => usize::try_from(*size).map_err(|_| NEGATIVE),
            _ => Err(PickleProblem::Damaged("a shape is not a list of integers")),
        });
        sizes.collect()
    }

    /// Returns the items of a dictionary with text keys.
    fn items(&self, value: Value) -> Option<BTreeMap<&str, Value>> {
        let Value::Container(number) = value else { return None };
        let items = self.containers.get(number)?.chunks(2).map(|item| match item {
            [Value::Text(key), value] => Some((self.texts.get(*key)?.as_str(), *value)),
            _ => None,
        });
        items.collect()
    }

    fn push_text(&mut self, text: String) {
        self.texts.push(text);
        self.stack.push(Value::Text(self.texts.len() - 1));
    }

    fn push_container(&mut self, items: Vec<Value>) {
        self.containers.push(items);
        self.stack.push(Value::Container(self.containers.len() - 1));
    }

    fn pop(&mut self) -> Step<Value> {
        self.stack.pop().ok_or(ENDS_EARLY)
    }

    fn pop_text(&mut self) -> Step<String> {
        match self.pop()? {
            Value::Text(number) => Ok(self.texts[number].clone()),
            _ => Err(PickleProblem::Damaged("the name of a function is not text")),
        }
    }

    fn pop_many(&mut self, count: usize) -> Step<Vec<Value>> {
        let start = self.stack.len().checked_sub(count).ok_or(ENDS_EARLY)?;
        Ok(self.stack.split_off(start))
    }

    fn pop_to_mark(&mut self) -> Step<Vec<Value>> {
        let mark = self.stack.iter().rposition(|value| *value == Value::Mark);
        let items = self.stack.split_off(mark.ok_or(ENDS_EARLY)? + 1);
        self.stack.pop();
        Ok(items)
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned little-endian number of `width` bytes.
    fn number(&mut self, width: u64) -> Step<u64> {
        let bytes = self.take(width)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, count: u64) -> Step<&[u8]> {
        let count = usize::try_from(count).map_err(|_| ENDS_EARLY)?;
        let end = self.position.checked_add(count).ok_or(ENDS_EARLY)?;
        let taken = self.bytes.get(self.position..end).ok_or(ENDS_EARLY)?;
        self.position = end;
        Ok(taken)
    }

    fn text(&mut self, length: u64) -> Step<String> {
        let bytes = self.take(length)?.to_vec();
        String::from_utf8(bytes).map_err(|_| PickleProblem::Damaged("a text is not UTF-8"))
    }

    fn line(&mut self) -> Step<String> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or(ENDS_EARLY)?;
        let line = self.text(length as u64)?;
        self.take(1)?;
        Ok(line)
    }
}

/// The number format of a storage type of PyTorch.
fn storage_type(name: &str) -> Option<Dtype> {
    Some(match name {
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "DoubleStorage" => Dtype::F64,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}
