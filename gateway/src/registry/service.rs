//! The registry itself: taking modules in, finding them, letting them go.
//!
//! Owns the order of the steps. Invariant: a change is whole or not there, also
//! when whoever asked for it has left: each runs in a task of its own.

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::locks::Locks;
use super::snapshot::Trusted;
use super::{
    CompileError, Compiler, Component, Error, Refusal, Revision, Snapshot, Trust, Upload, Uploaded, intake, request,
    sweep,
};
use crate::error::FieldError;
use crate::model::{AuditEntry, Digest, Module, ModuleId, ModuleRef, Signature};
use crate::store::Inserted;
use crate::store::shared::Hold;
use crate::telemetry::SecurityAlert;
use crate::{blob, clock, config, store, telemetry};

/// Uploads at once that are looked at. Each keeps a core busy.
const INTAKES_MAX: usize = 2;

/// What a registry is made of.
pub struct Parts {
    /// Rows.
    pub store: store::SharedStore,
    /// Bytes.
    pub blobs: blob::Blobs,
    /// Code.
    pub compiler: Arc<dyn Compiler>,
    /// The operator's limits.
    pub limits: config::Limits,
    /// Whose modules are taken and run.
    pub trust: Trust,
    /// Counters.
    pub metrics: telemetry::Metrics,
    /// The time.
    pub clock: clock::Clock,
    /// Changes that go on when their caller has left, for the stop to wait for.
    pub changes: TaskTracker,
}

/// The registry. Shared behind an `Arc`.
pub struct Registry {
    pub(super) parts: Parts,
    snapshot: ArcSwap<Snapshot>,
    intakes: Arc<Semaphore>,
    /// Held by who uploads: one module of a caller is compiled at a time. Taken before `intakes`, so
    /// that one caller never has all of them.
    callers: Locks<String>,
    /// Held from the first byte stored to the row, and while a row's bytes go. Taken before `rows`, and
    /// before the same digest is held in all gateways.
    digests: Locks<Digest>,
    /// Whether another store's gateways have the bucket, as far as the last sweep found out.
    pub(super) bucket: sweep::Bucket,
    /// Held while a row and the snapshot change together.
    pub(super) rows: Mutex<()>,
}

impl Registry {
    /// Loads the snapshot from the store and sweeps blobs that nothing refers to. Where they are shared
    /// with other gateways the caller has to [`Self::sweep_first`]: a bucket may be slow, or away.
    pub async fn open(parts: Parts) -> Result<Arc<Self>, Error> {
        let modules = parts.store.all_modules().await?;
        let snapshot = Snapshot::of(modules.into_iter().map(|module| revision(&parts, module)));
        let wanted = digests(&snapshot);
        let registry = Arc::new(Self {
            parts,
            snapshot: ArcSwap::from_pointee(snapshot),
            intakes: Arc::new(Semaphore::new(INTAKES_MAX)),
            callers: Locks::default(),
            digests: Locks::default(),
            bucket: sweep::Bucket::default(),
            rows: Mutex::default(),
        });
        if registry.parts.blobs.is_shared() {
            sweep::code(&registry, wanted).await;
        } else {
            sweep::at_start(&registry, wanted).await;
        }
        Ok(registry)
    }

    /// What is known now: immutable, and had without waiting.
    pub fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Takes a module in, with `audit` as its row. A failure leaves nothing behind, and a row where it was
    /// refused for its signature; a caller that leaves in the middle changes nothing: the module is then
    /// taken in, or refused, all the same.
    pub async fn upload(self: &Arc<Self>, upload: Upload, audit: AuditEntry) -> Result<Uploaded, Error> {
        // Waited for out here: whoever leaves while waiting takes the component along.
        let turn = self.callers.lock(upload.created_by.clone()).await;
        let permit = Arc::clone(&self.intakes).acquire_owned().await;
        let registry = Arc::clone(self);
        in_task(&self.parts.changes, async move {
            let (_turn, _permit) = (turn, permit);
            let taken = registry.take_in(upload, &audit).await;
            if let Err(Error::Signature(refusal)) = &taken {
                registry.audit_refusal(audit, refusal).await;
            }
            taken
        })
        .await
    }

    /// Deletes one version, with `audit` as its row: its row at once, its bytes and its code when no other
    /// version has them. Executions that run finish. A caller that leaves in the middle changes nothing.
    pub async fn delete(self: &Arc<Self>, reference: &ModuleRef, audit: AuditEntry) -> Result<(), Error> {
        let (registry, reference) = (Arc::clone(self), reference.clone());
        in_task(&self.parts.changes, async move { registry.let_go(reference, &audit).await }).await
    }

    /// The component of one version, verified.
    pub async fn download(&self, module: &Module) -> Result<blob::Spool, Error> {
        let found = self.parts.blobs.get(module.sha256).await;
        if let Err(error @ blob::Error::Integrity { .. }) = &found {
            self.parts.metrics.security_alert(SecurityAlert::Integrity, module.sha256);
            tracing::error!(module = %module.id, %error, "stored bytes were changed");
        }
        Ok(found?)
    }

    /// Takes what the store has now: another gateway may have changed it. Requests are
    /// resolved in what was before, until all of it is there. Cancelled, it did nothing.
    pub async fn reload(self: &Arc<Self>) -> Result<(), Error> {
        let gone = {
            // Nothing of ours is stored and not in the snapshot, or the other way round, meanwhile.
            let _row_and_snapshot = self.rows.lock().await;
            let modules = self.parts.store.all_modules().await?;
            let registry = Arc::clone(self);
            blocking(move || Ok(registry.swap(modules))).await?
        };
        // Forgetting code waits for whoever loads it, which may take minutes; changes must not.
        let registry = Arc::clone(self);
        self.parts.changes.spawn(async move { registry.forget(gone).await }.in_current_span());
        Ok(())
    }

    /// Drops the code of digests that no version has.
    async fn forget(&self, gone: HashSet<Digest>) {
        for digest in gone {
            // An upload of the same bytes may be under way, and has compiled them.
            let _here = self.digests.lock(digest).await;
            if !digests(&self.snapshot()).contains(&digest) {
                self.parts.compiler.forget(digest).await;
            }
        }
    }

    /// Makes these modules the snapshot, and tells which digests nobody has any more.
    fn swap(&self, modules: Vec<Module>) -> HashSet<Digest> {
        let before = self.snapshot.load_full();
        let stay: HashSet<ModuleId> = modules.iter().map(|module| module.id).collect();
        let mut gone = HashSet::new();
        for revision in before.revisions().filter(|revision| !stay.contains(&revision.module.id)) {
            // Before a new one of the same name and version is counted.
            self.parts.metrics.forget_module(&revision.module.name, &revision.module.version);
            gone.insert(revision.module.sha256);
        }
        for module in &modules {
            gone.remove(&module.sha256);
        }
        let next = Snapshot::of(modules.into_iter().map(|module| match before.resolve(&ModuleRef::Id(module.id)) {
            Some(known) if *known.module == module => Arc::clone(known),
            Some(known) => revised(&self.parts, known, module),
            None => revision(&self.parts, module),
        }));
        self.snapshot.store(Arc::new(next));
        gone
    }

    /// Keeps the bytes of a digest as they are: in this process, and in all gateways on the store.
    pub(super) async fn hold(&self, digest: Digest) -> Result<(OwnedMutexGuard<()>, Option<Hold>), Error> {
        let here = self.digests.lock(digest).await;
        Ok((here, hold_everywhere(&self.parts, digest).await?))
    }

    /// The first sweep of shared blobs, which also tells of bytes that are missing. Does no harm at any time.
    pub async fn sweep_first(&self) {
        let known = digests(&self.snapshot());
        sweep::first(self, &known).await;
    }

    /// Removes blobs that nothing refers to. Does no harm at any time; where blobs are shared with
    /// other gateways it has to come again, since young ones are left.
    pub async fn sweep(&self) {
        let known = digests(&self.snapshot());
        sweep::again(self, &known).await;
    }

    pub(super) fn find(&self, reference: &ModuleRef) -> Result<Arc<Revision>, Error> {
        self.snapshot().resolve(reference).cloned().ok_or_else(|| Error::NotFound(reference.clone()))
    }

    async fn take_in(&self, upload: Upload, audit: &AuditEntry) -> Result<Uploaded, Error> {
        let checked = match self.check(upload).await? {
            Checked::Taken(uploaded) => return Ok(uploaded),
            Checked::New(checked) => *checked,
        };
        // Spooled so far, which nobody sees; from here on the digest is held, until the row is there. Taken
        // any later, another gateway's sweep could take the bytes away between their arrival and their row.
        let component = checked.upload.component.clone();
        let digest = component.digest();
        let module = self.module(checked);
        let _bytes_stay = self.hold(digest).await?;
        let uploaded = self.keep(component, module, audit).await;
        if !matches!(uploaded, Ok(Uploaded::Created(_))) {
            self.discard_unused(digest).await;
        }
        uploaded
    }

    /// All that needs the processor and touches nothing.
    async fn check(&self, upload: Upload) -> Result<Checked, Error> {
        let (limits, trust, now) = (self.parts.limits.clone(), self.parts.trust.clone(), self.parts.clock.now());
        let (upload, signature) = blocking(move || {
            check_form(&upload, &limits)?;
            // Before anything parses the bytes: where signatures are required, strangers' are never looked into.
            let signature = trust.check_upload(&upload, now)?;
            Ok((upload, signature))
        })
        .await?;
        if let Some(revision) = self.snapshot().find(&upload.name, &upload.version) {
            return taken(Arc::clone(&revision.module), upload.component.digest()).map(Checked::Taken);
        }
        blocking(move || {
            let component = upload.component.map()?;
            let outline = intake::inspect(&component).map_err(Error::Invalid)?;
            Ok(Checked::New(Box::new(New { upload, signature, outline })))
        })
        .await
    }

    fn module(&self, checked: New) -> Module {
        let New { upload, signature, outline } = checked;
        let mut warnings = outline.warnings;
        warnings.extend(request::warnings(&outline.imports, &upload.permissions));
        Module {
            id: ModuleId::generate(),
            name: upload.name,
            version: upload.version,
            description: upload.description,
            kind: outline.kind,
            sha256: upload.component.digest(),
            size_bytes: upload.component.size_bytes(),
            functions: outline.functions,
            imports: outline.imports,
            permissions: upload.permissions,
            limits: upload.limits,
            signature,
            warnings,
            created_at: self.parts.clock.now(),
            created_by: upload.created_by,
        }
    }

    /// Bytes, code, row, snapshot: in this order, so that whoever sees the row can run it.
    async fn keep(&self, component: blob::Spool, module: Module, audit: &AuditEntry) -> Result<Uploaded, Error> {
        let digest = module.sha256;
        self.put(&component, &module).await?;
        self.parts.compiler.compile(digest, component).await.map_err(|error| match error {
            CompileError::Rejected(reason) => Error::Invalid(vec![FieldError::new("module", "not-compilable", reason)]),
            CompileError::Failed(reason) => Error::Compile(reason),
        })?;
        let audit = about(&module, audit.clone()).with("sha256", digest.to_string());
        let _row_and_snapshot = self.rows.lock().await;
        match self.parts.store.insert_module(&module, &audit).await? {
            Inserted::Created => Ok(Uploaded::Created(self.show(revision(&self.parts, module)))),
            Inserted::Existed(other) => taken(Arc::from(other), digest),
        }
    }

    /// Stores bytes. An alert where it comes upon wrong ones: stored by somebody else before, or by a
    /// store that doesn't keep what it is given.
    async fn put(&self, component: &blob::Spool, module: &Module) -> Result<(), Error> {
        let put = self.parts.blobs.put(component).await;
        let found = match &put {
            Ok(blob::Put::Mended { found }) | Err(blob::Error::Integrity { found, .. }) => *found,
            Ok(blob::Put::Stored) | Err(blob::Error::Missing(_) | blob::Error::Unavailable { .. }) => {
                return put.map(|_| ()).map_err(Error::from);
            }
        };
        self.parts.metrics.security_alert(SecurityAlert::Integrity, module.sha256);
        let replaced = put.is_ok();
        tracing::error!(
            module = %module.name, version = %module.version, expected = %module.sha256, %found, replaced,
            "stored bytes do not have their digest; found at an upload of what they should be"
        );
        put.map(|_| ()).map_err(Error::from)
    }

    /// The row of an upload that was refused for its signature. Nothing was changed, so it stands alone.
    async fn audit_refusal(&self, audit: AuditEntry, refusal: &Refusal) {
        let audit = audit.refused().with("code", refusal.code().as_str());
        if let Err(error) = self.parts.store.append_audit([audit.clone()].into()).await {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(action = %audit.action, resource = audit.resource, error, "a refusal is missing in the audit");
        }
    }

    /// Puts a revision into the snapshot, for others to see. `rows` is held.
    pub(super) fn show(&self, revision: Arc<Revision>) -> Arc<Module> {
        let module = Arc::clone(&revision.module);
        self.snapshot.store(Arc::new(self.snapshot().with(revision)));
        module
    }

    async fn let_go(&self, reference: ModuleRef, audit: &AuditEntry) -> Result<(), Error> {
        let module = Arc::clone(&self.find(&reference)?.module);
        let audit = about(&module, audit.clone());
        let _bytes_stay = self.hold(module.sha256).await?;
        // There may be millions: no other change waits for them.
        self.parts.store.delete_executions_of(module.id).await?;
        let deleted = {
            let _row_and_snapshot = self.rows.lock().await;
            let deleted = self.parts.store.delete_module(module.id, &audit).await?;
            self.snapshot.store(Arc::new(self.snapshot().without(module.id)));
            if deleted.is_some() {
                // Before the same name and version can be uploaded again, and be counted.
                self.parts.metrics.forget_module(&module.name, &module.version);
            }
            deleted
        };
        let Some(deleted) = deleted else {
            // Another call was faster.
            return Err(Error::NotFound(reference));
        };
        if !deleted.digest_in_use {
            self.discard(deleted.digest).await;
        }
        Ok(())
    }

    /// Undoes what an upload did before it failed, unless another version has the same bytes.
    async fn discard_unused(&self, digest: Digest) {
        match self.parts.store.digest_in_use(digest).await {
            Ok(true) => {}
            Ok(false) => self.discard(digest).await,
            Err(error) => tracing::warn!(%digest, %error, "a module's bytes are left to the next sweep"),
        }
    }

    /// The bytes first: as long as they are there, they can be compiled again.
    async fn discard(&self, digest: Digest) {
        // Of a bucket that is another store's, since that one may refer to the same bytes, nothing goes.
        let is_ours = !self.bucket.is_anothers();
        if is_ours && let Err(error) = self.parts.blobs.delete(digest).await {
            tracing::warn!(%digest, %error, "a module's bytes are left to the next sweep");
        }
        self.parts.compiler.forget(digest).await;
    }
}

/// What is known of an upload before anything is stored.
enum Checked {
    /// The same version with the same bytes is here.
    Taken(Uploaded),
    /// It may be stored.
    New(Box<New>),
}

/// An upload that may be stored.
struct New {
    upload: Upload,
    signature: Option<Signature>,
    outline: Component,
}

fn check_form(upload: &Upload, limits: &config::Limits) -> Result<(), Error> {
    let errors = request::check(upload, limits);
    if !errors.is_empty() {
        return Err(Error::BadRequest(errors));
    }
    Ok(())
}

/// The row of a change to this version, whatever it was called in the request.
pub(super) fn about(module: &Module, audit: AuditEntry) -> AuditEntry {
    let resource = format!("{}@{}", module.name, module.version);
    AuditEntry { resource, ..audit }.with("id", module.id.to_string())
}

/// A version never changes: it is either this upload's already or nobody's to have.
fn taken(module: Arc<Module>, digest: Digest) -> Result<Uploaded, Error> {
    if module.sha256 == digest {
        return Ok(Uploaded::Existed(module));
    }
    Err(Error::VersionExists { name: module.name.clone(), version: module.version.clone() })
}

fn revision(parts: &Parts, module: Module) -> Arc<Revision> {
    with_trust(parts, module, Trusted::by(parts.trust.clone()))
}

/// The same version with other permissions or limits: what was found of its signature stays, so that it
/// is told once.
pub(super) fn revised(parts: &Parts, old: &Revision, module: Module) -> Arc<Revision> {
    if old.is_signed_as(&module) { with_trust(parts, module, old.trusted.clone()) } else { revision(parts, module) }
}

fn with_trust(parts: &Parts, module: Module, trusted: Trusted) -> Arc<Revision> {
    Arc::new(Revision {
        limits: parts.limits.effective().clamped_by(&module.limits),
        metrics: parts.metrics.module(&module.name, &module.version),
        module: Arc::new(module),
        trusted,
        permissions: OnceLock::new(),
    })
}

/// Holds a digest in all gateways on the store, where there may be others.
async fn hold_everywhere(parts: &Parts, digest: Digest) -> Result<Option<Hold>, Error> {
    match parts.store.shared() {
        Some(shared) => Ok(Some(shared.hold(digest).await?)),
        None => Ok(None),
    }
}

fn digests(snapshot: &Snapshot) -> HashSet<Digest> {
    snapshot.revisions().map(|revision| revision.module.sha256).collect()
}

/// Runs `work` to its end even when the caller is dropped.
pub(super) async fn in_task<T: Send + 'static>(
    tasks: &TaskTracker,
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    tasks.spawn(work.in_current_span()).await.unwrap_or_else(|error| Err(ended_early(&error)))
}

/// Runs `work` beside the requests, to its end.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(ended_early(&error)))
}

/// A panic, which is a defect of ours, or the end of the process.
fn ended_early(error: &tokio::task::JoinError) -> Error {
    Error::Defect(format!("the task did not end: {error}"))
}

#[cfg(test)]
mod tests;
