//! The OCI documents of a bundle (OCI Image Specification 1.0: layout, index, image manifest): what registries and their
//! tools see. Writing is deterministic. Reading demands that every blob is named by exactly the documents that should name
//! it, with the right digest and size; annotations that other tools add are left aside.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::archive::{BLOBS, Entry, INDEX, LAYOUT};
use crate::canonical;
use crate::digest::Digest;
use crate::error::{Error, cut, printable};
use crate::limits;
use crate::manifest::Manifest;
use crate::spec::Blobs;

/// The media type of a bundle's manifest, the config of the OCI image.
pub const MANIFEST_TYPE: &str = "application/vnd.midflight.manifest.v1+json";
/// The media type of a component, a layer of the OCI image.
pub const COMPONENT_TYPE: &str = "application/wasm";
/// The media type of an armored signature, a layer of the OCI image.
pub const SIGNATURE_TYPE: &str = "application/vnd.midflight.signature.v1";

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const TITLE: &str = "org.opencontainers.image.title";

#[derive(Serialize, Deserialize)]
struct LayoutFile {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    // Optional in the specification, and left out by some tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Image {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Descriptor {
    fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
        }
    }
}

/// What a layout holds.
pub(crate) struct Contents {
    pub(crate) manifest: Manifest,
    pub(crate) manifest_bytes: Vec<u8>,
    pub(crate) blobs: Blobs,
    pub(crate) signatures: Vec<String>,
}

/// The files of a layout, by path.
pub(crate) fn files<'a>(
    manifest: &Manifest,
    manifest_bytes: &'a [u8],
    blobs: &'a Blobs,
    signatures: &'a [String],
) -> Result<BTreeMap<String, Cow<'a, [u8]>>, Error> {
    let mut files = BTreeMap::new();
    let mut blob = |bytes: &'a [u8]| files.insert(path(&Digest::of(bytes)), Cow::Borrowed(bytes));

    let mut layers = BTreeMap::new();
    for module in &manifest.modules {
        let bytes = blobs
            .get(&module.blob)
            .ok_or_else(|| missing("the bundle", 0, module))?;
        let mut layer = Descriptor::of(COMPONENT_TYPE, bytes);
        layer
            .annotations
            .insert(TITLE.to_owned(), module.name.to_string());
        blob(bytes);
        // Two modules may share a component; it is one layer then, with the first one's name.
        layers.entry(layer.digest).or_insert(layer);
    }
    let mut layers: Vec<_> = layers.into_values().collect();
    for signature in signatures {
        layers.push(Descriptor::of(SIGNATURE_TYPE, signature.as_bytes()));
        blob(signature.as_bytes());
    }
    blob(manifest_bytes);
    let config = Descriptor::of(MANIFEST_TYPE, manifest_bytes);
    let image = json(&Image {
        schema_version: 2,
        media_type: Some(IMAGE_TYPE.to_owned()),
        config,
        layers,
    })?;
    let manifests = vec![Descriptor::of(IMAGE_TYPE, &image)];
    files.insert(path(&manifests[0].digest), Cow::Owned(image));
    let index = json(&Index {
        schema_version: 2,
        media_type: Some(INDEX_TYPE.to_owned()),
        manifests,
    })?;
    files.insert(INDEX.to_owned(), Cow::Owned(index));
    files.insert(
        LAYOUT.to_owned(),
        Cow::Owned(json(&LayoutFile {
            version: "1.0.0".to_owned(),
        })?),
    );
    Ok(files)
}

/// Checks the files of a layout, and takes them apart.
pub(crate) fn read(entries: BTreeMap<String, Entry>, file: &str) -> Result<Contents, Error> {
    let mut layout = Reader { file, entries };
    for (path, entry) in &layout.entries {
        if let Some(want) = path.strip_prefix(BLOBS).and_then(Digest::from_hex) {
            let have = Digest::of(&entry.bytes);
            if have != want {
                return Err(Error::DigestMismatch {
                    file: file.to_owned(),
                    what: format!("entry {path}"),
                    want: Box::new(want),
                    have: Box::new(have),
                });
            }
        }
    }

    let (offset, version) = layout.document::<LayoutFile>(LAYOUT)?;
    if version.version != "1.0.0" {
        return Err(layout.refuse(
            offset,
            format!(
                "{LAYOUT} is of version {:?}, not 1.0.0",
                cut(&version.version, 20)
            ),
        ));
    }
    let (offset, index) = layout.document::<Index>(INDEX)?;
    let is_index = index
        .media_type
        .as_deref()
        .is_none_or(|given| given == INDEX_TYPE);
    let [descriptor] = index.manifests.as_slice() else {
        let problem = format!(
            "{INDEX} names {} images; a bundle is one",
            index.manifests.len()
        );
        return Err(layout.refuse(offset, problem));
    };
    if index.schema_version != 2 || !is_index || descriptor.media_type != IMAGE_TYPE {
        return Err(layout.refuse(
            offset,
            format!("{INDEX} does not name an OCI image manifest"),
        ));
    }

    let image_path = path(&descriptor.digest);
    let (image_offset, bytes) =
        layout.take(descriptor, "the image manifest", limits::MANIFEST, offset)?;
    let image: Image = serde_json::from_slice(&bytes).map_err(|error| {
        layout.refuse(
            image_offset,
            format!(
                "{image_path} is not an OCI image manifest: {}",
                printable(&error.to_string())
            ),
        )
    })?;
    let is_image = image
        .media_type
        .as_deref()
        .is_none_or(|given| given == IMAGE_TYPE);
    if image.schema_version != 2 || !is_image || image.config.media_type != MANIFEST_TYPE {
        let problem = format!(
            "the image's config is {:?}, not {MANIFEST_TYPE}",
            cut(&image.config.media_type, 80)
        );
        return Err(layout.refuse(image_offset, problem));
    }
    let (_, manifest_bytes) = layout.take(
        &image.config,
        "the manifest",
        limits::MANIFEST,
        image_offset,
    )?;
    let manifest = Manifest::parse(&manifest_bytes)?;
    let (blobs, signatures) = layout.layers(&image, image_offset)?;
    for module in &manifest.modules {
        let bytes = blobs
            .get(&module.blob)
            .ok_or_else(|| missing(file, image_offset, module))?;
        if bytes.len() as u64 != module.size {
            let problem = format!(
                "the component of module {} has {} bytes, and the manifest says {}",
                module.name,
                bytes.len(),
                module.size
            );
            return Err(layout.refuse(image_offset, problem));
        }
    }
    let named: BTreeSet<_> = manifest.modules.iter().map(|module| module.blob).collect();
    if let Some(stray) = blobs.keys().find(|digest| !named.contains(digest)) {
        return Err(layout.refuse(
            image_offset,
            format!("layer {stray} is no module's component"),
        ));
    }
    if let Some((path, entry)) = layout.entries.first_key_value() {
        return Err(layout.refuse(
            entry.offset,
            format!("entry {path:?} is not named by the image manifest"),
        ));
    }
    Ok(Contents {
        manifest,
        manifest_bytes,
        blobs,
        signatures,
    })
}

struct Reader<'a> {
    file: &'a str,
    /// What was not asked for yet.
    entries: BTreeMap<String, Entry>,
}

impl Reader<'_> {
    fn refuse(&self, offset: u64, problem: String) -> Error {
        Error::Layout {
            file: self.file.to_owned(),
            offset,
            problem,
        }
    }

    /// One of the two JSON files at the top.
    fn document<T: for<'de> Deserialize<'de>>(&mut self, path: &str) -> Result<(u64, T), Error> {
        let Some(entry) = self.entries.remove(path) else {
            return Err(self.refuse(0, format!("there is no {path}; this is not a bundle")));
        };
        serde_json::from_slice(&entry.bytes)
            .map(|document| (entry.offset, document))
            .map_err(|error| {
                self.refuse(
                    entry.offset,
                    format!("{path} does not read: {}", printable(&error.to_string())),
                )
            })
    }

    /// The blob that a descriptor names, which is taken out.
    fn take(
        &mut self,
        named: &Descriptor,
        what: &str,
        most: u64,
        from: u64,
    ) -> Result<(u64, Vec<u8>), Error> {
        limits::check(
            self.file,
            &format!("the size of {what} in bytes"),
            named.size,
            most,
        )?;
        let Some(entry) = self.entries.remove(&path(&named.digest)) else {
            return Err(self.refuse(
                from,
                format!("{what}, {}, is named here but missing", named.digest),
            ));
        };
        if entry.bytes.len() as u64 != named.size {
            let problem = format!(
                "{what} has {} bytes, and its descriptor says {}",
                entry.bytes.len(),
                named.size
            );
            return Err(self.refuse(entry.offset, problem));
        }
        Ok((entry.offset, entry.bytes))
    }

    fn layers(&mut self, image: &Image, offset: u64) -> Result<(Blobs, Vec<String>), Error> {
        let mut blobs = Blobs::new();
        let mut signatures = Vec::new();
        for layer in &image.layers {
            match layer.media_type.as_str() {
                COMPONENT_TYPE => {
                    let (_, bytes) = self.take(layer, "a component", limits::BLOB, offset)?;
                    blobs.insert(layer.digest, bytes);
                }
                SIGNATURE_TYPE => {
                    let (at, bytes) = self.take(layer, "a signature", limits::SIGNATURE, offset)?;
                    let text = String::from_utf8(bytes).map_err(|_| {
                        self.refuse(at, format!("signature {} is not text", layer.digest))
                    })?;
                    signatures.push(text);
                    let count = signatures.len() as u64;
                    limits::check(
                        self.file,
                        "the number of signatures",
                        count,
                        limits::SIGNATURES,
                    )?;
                }
                other => {
                    let problem = format!(
                        "layer {} is of the unknown type {:?}",
                        layer.digest,
                        cut(other, 80)
                    );
                    return Err(self.refuse(offset, problem));
                }
            }
        }
        Ok((blobs, signatures))
    }
}

fn path(digest: &Digest) -> String {
    format!("{BLOBS}{}", digest.hex())
}

fn missing(file: &str, offset: u64, module: &crate::ModuleEntry) -> Error {
    let problem = format!(
        "the component of module {}, {}, is missing",
        module.name, module.blob
    );
    Error::Layout {
        file: file.to_owned(),
        offset,
        problem,
    }
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    canonical::serialize(value).map_err(|error| Error::manifest(&error.pointer, error.problem))
}
