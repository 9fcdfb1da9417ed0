//! A file system of a few hundred KiB for the aggregator's store, which can be filled.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use meshprobe_lab::Inside;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// What takes the space.
const BALLAST: &str = "ballast";
/// Space is given out in pages.
const PAGE: [u8; 4096] = [0xa5; 4096];

/// A mounted file system in memory; it goes with this handle, or with the namespaces.
#[derive(Debug)]
pub(super) struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// Only inside the lab's own mount namespace.
    pub(super) fn mount(_: &Inside, directory: &Path, kib: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        let options = format!("size={kib}k");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(
            Some("tmpfs"),
            directory,
            Some("tmpfs"),
            flags,
            Some(options.as_str()),
        )
        .with_context(|| format!("mount a file system of {kib} KiB"))?;
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes all the space that is left. The octets taken.
    pub(super) fn fill(&self) -> anyhow::Result<usize> {
        let path = self.directory.join(BALLAST);
        let mut ballast =
            File::create(&path).with_context(|| format!("make {}", path.display()))?;
        let mut taken = 0;
        loop {
            match ballast.write(&PAGE) {
                Ok(0) => bail!("{} takes no more octets, and says no error", path.display()),
                Ok(octets) => taken += octets,
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(taken),
                Err(error) => return Err(error).context("fill the disk"),
            }
        }
    }

    /// Gives the space back.
    pub(super) fn free(&self) -> anyhow::Result<()> {
        fs::remove_file(self.directory.join(BALLAST)).context("free the disk")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The aggregator may still have its files open; they go when it does.
        if let Err(error) = umount2(&self.directory, MntFlags::MNT_DETACH) {
            tracing::warn!(%error, "Could not unmount the small disk");
        }
    }
}
