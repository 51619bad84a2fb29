"""Every error the user can meet, and the one base class they share.

    PlaygroundError
    ├── SettingsError            a generation setting or option is out of range
    ├── StorageError             the SQLite workspace cannot be used
    │   ├── NewerDatabaseError       written by a newer version of the app
    │   ├── ReadOnlyStorageError     no permission to write
    │   ├── DiskFullError            no room left
    │   ├── LockedDatabaseError      another program holds it
    │   └── DamagedDatabaseError     not a readable SQLite file
    ├── NotFoundError            a run, dataset or folder that was named does not exist
    ├── ImportFormatError        a file to import cannot be understood
    ├── ExportError              a chat cannot be written
    ├── AdapterError             the adapter folder cannot be used
    │   └── NoEffectError            loaded, but it changes nothing
    │       └── NoMatchingLayersError    because it is attached to no layer
    ├── ModelError               the base model cannot be used
    │   ├── ModelNotFoundError       not on this machine and not reachable
    │   ├── ModelLoadError           found, but loading it failed
    │   └── OutOfMemoryError         it does not fit
    ├── PromptError              the prompt cannot be answered
    │   ├── EmptyPromptError         nothing to send
    │   └── PromptTooLongError       more tokens than the context holds
    └── ModelProcessError        the model process ended or cannot start

It lies below every layer, so that storage and engine raise the same tree without knowing each other.
"""


class PlaygroundError(Exception):
    """An error with words for the user.

    ``message`` names the cause in the user's words, ``hint`` the next step, ``title`` is a short heading.
    ``str(error)`` joins message and hint. Picklable: the model process sends it to the app.
    """

    default_title = "Something went wrong"

    def __init__(self, message: str, hint: str = "", title: str = "") -> None:
        super().__init__(message, hint, title)
        self.message = message
        self.hint = hint
        self.title = title or self.default_title

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class SettingsError(PlaygroundError):
    default_title = "A setting is out of range"


class StorageError(PlaygroundError):
    default_title = "The workspace cannot be used"


class NewerDatabaseError(StorageError):
    default_title = "The workspace is from a newer version"


class ReadOnlyStorageError(StorageError):
    default_title = "The workspace cannot be written"


class DiskFullError(StorageError):
    default_title = "The disk is full"


class LockedDatabaseError(StorageError):
    default_title = "The workspace is in use"


class DamagedDatabaseError(StorageError):
    default_title = "The workspace file is damaged"


class NotFoundError(PlaygroundError):
    default_title = "Not found"


class ImportFormatError(PlaygroundError):
    default_title = "The file cannot be imported"


class ExportError(PlaygroundError):
    default_title = "The export failed"


class AdapterError(PlaygroundError):
    default_title = "The adapter cannot be used"


class NoEffectError(AdapterError):
    default_title = "The adapter has no effect"


class NoMatchingLayersError(NoEffectError):
    pass


class ModelError(PlaygroundError):
    default_title = "The base model cannot be used"


class ModelNotFoundError(ModelError):
    default_title = "Model not found"


class ModelLoadError(ModelError):
    default_title = "The model did not load"


class OutOfMemoryError(ModelError):
    default_title = "Not enough memory"


class PromptError(PlaygroundError):
    default_title = "The prompt cannot be answered"


class EmptyPromptError(PromptError):
    default_title = "The prompt is empty"


class PromptTooLongError(PromptError):
    default_title = "The prompt is too long"


class ModelProcessError(PlaygroundError):
    default_title = "The model process ended"
