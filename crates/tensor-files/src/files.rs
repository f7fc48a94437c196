//! One or more files with the tensors of a model or an adapter.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Component, Path, PathBuf},
};

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::{
    checkpoint,
    error::{Error, FormatProblem, Result},
    place::Place,
};

/// First bytes of the text file that git-lfs leaves in place of a large file.
const LFS_POINTER: &[u8] = b"version https://git-lfs";
/// First bytes of a zip archive, the format of PyTorch checkpoints.
const ZIP: &[u8] = b"PK\x03\x04";

/// Tensor in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor<'a> {
    /// Number format.
    pub dtype: Dtype,
    /// Shape.
    pub shape: &'a [usize],
    /// Elements, row by row and little-endian.
    pub bytes: Cow<'a, [u8]>,
}

/// Tensors of a weight file, or of all shards of one.
#[derive(Debug)]
pub struct TensorFiles {
    path: PathBuf,
    maps: Vec<Mmap>,
    /// The map of each tensor, and its place in it.
    tensors: BTreeMap<String, (usize, Place)>,
}

/// Index of a sharded weight file.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Index {
    fn read(path: &Path) -> Result<Self> {
        serde_json::from_slice(&storage::read_limited(path)?).map_err(|error| {
            Error::format(path, FormatProblem::Index { reason: error.to_string() })
        })
    }

    /// Names of the shards, each once.
    fn shards(&self, path: &Path) -> Result<BTreeSet<&str>> {
        let check = |shard: &'_ String| {
            // An index from elsewhere must name neither files elsewhere nor the settings of a model.
            let mut components = Path::new(shard).components();
            let is_weights = [".safetensors", ".bin"].iter().any(|ending| shard.ends_with(ending));
            match (components.next(), components.next()) {
                (Some(Component::Normal(_)), None) if is_weights => Ok(()),
                _ => Err(Error::format(path, FormatProblem::ShardPath { shard: shard.clone() })),
            }
        };
        self.weight_map.values().map(|shard| check(shard).map(|()| shard.as_str())).collect()
    }
}

/// Returns the names of the shards of an index (`model.safetensors.index.json`), which are beside
/// it or not there yet.
///
/// # Errors
/// [`Error::Storage`] for an index that cannot be read, [`Error::Format`] for a damaged one and for
/// shards in another directory.
pub fn shards(index: &Path) -> Result<Vec<String>> {
    Ok(Index::read(index)?.shards(index)?.into_iter().map(str::to_owned).collect())
}

/// Returns the weight file in a folder: `<name>.safetensors`, else the index of its shards,
/// else `<name>.bin`, else the index of its shards, for the first of `names` that is there;
/// safetensors of any name go before pickles.
pub fn find(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let endings = ["safetensors", "safetensors.index.json", "bin", "bin.index.json"].into_iter();
    let mut files = endings
        .flat_map(|ending| names.iter().map(move |name| folder.join(format!("{name}.{ending}"))));
    files.find(|file| file.is_file())
}

impl TensorFiles {
    /// Opens a safetensors file, a PyTorch checkpoint, or the index of shards. The format is
    /// recognized by the content.
    ///
    /// # Errors
    /// [`Error::Storage`] for a file that cannot be read, [`Error::Format`] for a damaged
    /// file, a git-lfs pointer, or a pickle with anything but tensors.
    pub fn open(path: &Path) -> Result<Self> {
        let mut files = Self { path: path.to_owned(), maps: Vec::new(), tensors: BTreeMap::new() };
        if path.extension().is_none_or(|extension| extension != "json") {
            files.add(path)?;
            return Ok(files);
        }
        let index = Index::read(path)?;
        let shards = index.shards(path)?;
        // All are named before the first is read: a download may have been interrupted.
        let is_missing = |shard: &&&str| !path.with_file_name(shard).exists();
        let missing: Vec<&&str> = shards.iter().filter(is_missing).collect();
        if let Some(first) = missing.first() {
            let (first, missing) = ((**first).to_owned(), missing.len());
            let shards = shards.len();
            return Err(Error::format(
                path,
                FormatProblem::MissingShards { missing, shards, first },
            ));
        }
        for shard in shards {
            files.add(&path.with_file_name(shard))?;
        }
        match index.weight_map.keys().find(|name| !files.tensors.contains_key(*name)) {
            Some(name) => {
                let tensor = name.clone();
                Err(Error::format(path, FormatProblem::MissingInShards { tensor }))
            }
            None => Ok(files),
        }
    }

    /// Path of the file or the index, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Returns a tensor by name.
    pub fn get(&self, name: &str) -> Option<StoredTensor<'_>> {
        let (map, Place { dtype, shape, range, strided }) = self.tensors.get(name)?;
        let storage = self.maps.get(*map)?.get(range.clone())?;
        let bytes = match strided {
            None => Cow::Borrowed(storage),
            Some((first, strides)) => {
                Cow::Owned(gather(storage, dtype.bitsize() / 8, *first, shape, strides)?)
            }
        };
        Some(StoredTensor { dtype: *dtype, shape, bytes })
    }

    /// Tells the system that a tensor has been read, so that its part of the file does not count as
    /// memory of the process any longer. It is read from the file again by the next use.
    pub fn release(&self, name: &str) {
        let Some((map, Place { range, .. })) = self.tensors.get(name) else { return };
        #[cfg(unix)]
        if let Some(map) = self.maps.get(*map) {
            // SAFETY: pages of a read-only map of a file have the same contents after they are
            // dropped. An error leaves them where they are.
            let _ = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
            };
        }
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(storage::Error::read(path))?;
        // SAFETY: the map is read only. Changing a weight file while the program runs gives
        // wrong numbers or a signal, as with every memory-mapped file.
        let map = unsafe { Mmap::map(&file) }.map_err(storage::Error::read(path))?;
        let places = if map.starts_with(LFS_POINTER) {
            return Err(Error::format(path, FormatProblem::LfsPointer));
        } else if map.starts_with(ZIP) {
            checkpoint::places(&map, path)?
        } else {
            safetensors_places(&map, path)?
        };
        for (name, place) in places {
            if self.tensors.contains_key(&name) {
                return Err(Error::format(path, FormatProblem::InTwoShards { tensor: name }));
            }
            self.tensors.insert(name, (self.maps.len(), place));
        }
        self.maps.push(map);
        Ok(())
    }
}

fn safetensors_places(map: &Mmap, path: &Path) -> Result<Vec<(String, Place)>> {
    let is_pickle = path.extension().is_some_and(|extension| extension == "bin");
    let stored = SafeTensors::deserialize(map).map_err(|error| {
        let problem = if is_pickle {
            FormatProblem::LegacyPickle
        } else {
            FormatProblem::Safetensors { reason: error.to_string() }
        };
        Error::format(path, problem)
    })?;
    let place = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let start = view.data().as_ptr() as usize - map.as_ptr() as usize;
        let range = start..start + view.data().len();
        let place =
            Place { dtype: view.dtype(), shape: view.shape().to_vec(), range, strided: None };
        (name.to_owned(), place)
    };
    Ok(stored.iter().map(place).collect())
}

/// Copies the elements of a strided view, row by row. `None` if one is outside the storage,
/// which [`checkpoint::places`] has ruled out.
fn gather(
    storage: &[u8],
    width: usize,
    first: usize,
    shape: &[usize],
    strides: &[usize],
) -> Option<Vec<u8>> {
    let count: usize = shape.iter().product();
    let mut bytes = Vec::with_capacity(count * width);
    for index in 0..count {
        let (mut rest, mut element) = (index, first);
        for (size, stride) in shape.iter().zip(strides).rev() {
            element += rest % size * stride;
            rest /= size;
        }
        bytes.extend_from_slice(storage.get(element * width..(element + 1) * width)?);
    }
    Some(bytes)
}
