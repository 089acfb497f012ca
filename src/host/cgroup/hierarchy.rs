//! Which groups bind a process: its membership, and the mounts that show the groups.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::group::Group;

/// The path of the process's group in `<proc_self>/cgroup` (`membership`); `/` if it is not there.
///
/// A line is `id:controllers:path`; that of v2 names no controllers. A path may contain colons.
/// Source: `cgroups(7)`.
pub(super) fn own_path<'a>(membership: &'a str, version: Version, controller: &str) -> &'a Path {
    let path = membership.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let is_own = match version {
            Version::V1 => controllers.split(',').any(|name| name == controller),
            Version::V2 => controllers.is_empty(),
        };
        is_own.then_some(path)
    });
    Path::new(path.unwrap_or("/"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

/// A hierarchy of groups, or a part of one, in the file system.
#[derive(Debug, Clone)]
pub(super) struct Mount {
    version: Version,
    /// What the hierarchy hands out, of v1 only: any v2 hierarchy may hand out anything.
    controllers: Vec<String>,
    /// The path, within the hierarchy, of the group that `point` shows.
    pub(super) root: PathBuf,
    point: PathBuf,
}

impl Mount {
    pub(super) fn carries(&self, version: Version, controller: &str) -> bool {
        self.version == version
            && (version == Version::V2 || self.controllers.iter().any(|name| name == controller))
    }

    /// The group whose path in the hierarchy is `own` and its ancestors, as far as this mount shows
    /// them; groups that do not exist here may be among them.
    ///
    /// A container without a cgroup namespace sees the host's path as `own`, and mounts that begin
    /// at that very path. Of a mount that begins elsewhere the first group is read, as it is the
    /// container's own or above it.
    pub(super) fn groups(&self, own: &Path) -> Vec<Group> {
        let below = own.strip_prefix(&self.root).unwrap_or(Path::new(""));
        // Such a path leads out of the namespace: the groups seen here do not bind the process.
        if below.components().any(|part| part == Component::ParentDir) {
            return Vec::new();
        }
        below
            .ancestors()
            .map(|path| Group {
                version: self.version,
                dir: self.point.join(path),
            })
            .collect()
    }
}

/// The cgroup mounts in or at `root` that `<proc_self>/mountinfo` lists, in its order.
pub(super) fn listed_mounts(root: &Path, proc_self: &Path) -> Vec<Mount> {
    let mountinfo = fs::read_to_string(proc_self.join("mountinfo")).unwrap_or_default();
    mountinfo
        .lines()
        .filter_map(parse_mount)
        .filter(|m| m.point.starts_with(root))
        .collect()
}

/// The mount of one line of `mountinfo`, if it is one of cgroups.
///
/// A line is `id parent major:minor root point options [tag]... - type source super-options`.
/// Source: `Documentation/filesystems/proc.rst` of the kernel.
fn parse_mount(line: &str) -> Option<Mount> {
    let (place, kind) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(3);
    let mut kind = kind.split(' ');
    let version = match kind.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    Some(Mount {
        version,
        controllers: kind.nth(1)?.split(',').map(str::to_owned).collect(),
        root: unescaped(place.next()?),
        point: unescaped(place.next()?),
    })
}

/// A path of `mountinfo` without the four escapes the kernel writes there. A backslash is common:
/// systemd puts it into the names of units.
fn unescaped(field: &str) -> PathBuf {
    // The backslash comes last, or one that it leaves could be taken for another escape.
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .into_iter()
    .fold(field.to_owned(), |path, (escape, meant)| {
        path.replace(escape, meant)
    })
    .into()
}

/// Without a list, the mounts of the usual layouts under `root`: folders named after v1 controllers, and v2 at
/// `unified` beside them, or else at `root` itself.
pub(super) fn guessed_mounts(root: &Path) -> Vec<Mount> {
    let unified = root.join("unified");
    let v2 = Mount {
        version: Version::V2,
        controllers: Vec::new(),
        root: PathBuf::from("/"),
        point: if unified.is_dir() {
            unified
        } else {
            root.to_owned()
        },
    };
    // Only the root of a v2 hierarchy has this file, and what else is in there are its groups.
    if root.join("cgroup.controllers").exists() {
        return vec![v2];
    }
    let folders = fs::read_dir(root).into_iter().flatten().flatten();
    folders
        .map(|folder| v1_mount(folder.path()))
        .chain([v2])
        .collect()
}

/// A v1 mount at a folder named after its controllers, such as `cpu` or `cpu,cpuacct`.
fn v1_mount(point: PathBuf) -> Mount {
    let name = point.file_name().unwrap_or_default().to_string_lossy();
    Mount {
        version: Version::V1,
        controllers: name.split(',').map(str::to_owned).collect(),
        root: PathBuf::from("/"),
        point,
    }
}
