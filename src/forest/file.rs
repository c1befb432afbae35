//! Saving and loading forests: versioned JSON.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result};

use super::grow::Node;
use super::isolation_forest::Forest;
use super::point::{MOST_POINTS, MOST_TREES};

const FORMAT: &str = "millstream isolation forest";
const VERSION: u32 = 1;

/// The saved form of a forest.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct SavedForest {
    format: String,
    version: u32,
    features: Vec<String>,
    seed: u64,
    points_per_tree: u32,
    zero_e9: i32,
    /// The nodes of each tree in preorder: a cut as `[feature, most]`, a leaf as its number of points.
    trees: Vec<Vec<Node>>,
}

fn features() -> Vec<String> {
    ["quantity", "price_e4", "discount_e4"].map(String::from).to_vec()
}

impl From<Forest> for SavedForest {
    fn from(forest: Forest) -> SavedForest {
        let Forest { seed, points_per_tree, zero_e9, trees, .. } = forest;
        SavedForest {
            format: FORMAT.into(),
            version: VERSION,
            features: features(),
            seed,
            points_per_tree,
            zero_e9,
            trees,
        }
    }
}

impl TryFrom<SavedForest> for Forest {
    type Error = String;

    fn try_from(saved: SavedForest) -> std::result::Result<Forest, String> {
        if saved.format != FORMAT || saved.version != VERSION {
            let (format, version) = (saved.format, saved.version);
            return Err(format!("found {format:?} of version {version}, wanted {FORMAT:?} of version {VERSION}"));
        }
        if saved.features != features() {
            return Err(format!("found the features {:?}, wanted {:?}", saved.features, features()));
        }
        if saved.trees.len() > MOST_TREES {
            return Err(format!("found {} trees, wanted {MOST_TREES} at most", saved.trees.len()));
        }
        if saved.trees.is_empty() || saved.points_per_tree == 0 || saved.points_per_tree as usize > MOST_POINTS {
            return Err("found no trees, or an invalid number of points per tree".into());
        }
        if saved.zero_e9.unsigned_abs() > 1_000_000_000 {
            return Err(format!("found a zero of {} · 10⁻⁹, wanted −1 to 1", saved.zero_e9));
        }
        Forest::new(saved.seed, saved.points_per_tree, saved.zero_e9, saved.trees)
    }
}

/// In the saved form; in binary formats, which are not self-describing, as its JSON text.
impl Serialize for Forest {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let saved = SavedForest::from(self.clone());
        if serializer.is_human_readable() {
            return saved.serialize(serializer);
        }
        serde_json::to_string(&saved).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Forest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let saved = if deserializer.is_human_readable() {
            SavedForest::deserialize(deserializer)?
        } else {
            serde_json::from_str(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)?
        };
        Forest::try_from(saved).map_err(serde::de::Error::custom)
    }
}

impl Forest {
    /// Writes the forest to a file.
    ///
    /// # Errors
    ///
    /// If it can't be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        AtomicFile::clean_up(path)?;
        let mut file = AtomicFile::replacing(path)?;
        file.write(&serde_json::to_vec(self).map_err(Error::failed)?)?;
        file.sync()?;
        file.put_durably()
    }

    /// Reads a forest from a file.
    ///
    /// # Errors
    ///
    /// If it can't be read, or is not a forest of a supported version.
    pub fn load(path: &Path) -> Result<Forest> {
        let json = fs::read_to_string(path).map_err(Error::reading(path))?;
        serde_json::from_str(&json)
            .map_err(|cause| Error::unusable(format!("{}: not a usable model: {cause}", path.display())))
    }
}
