"""The ways in which rag's own work fails, each written once."""

from __future__ import annotations

from libs.errors.errors import (
    AbortedError,
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    Reason,
    ResourceExhaustedError,
    ServiceError,
    UnavailableError,
    invalid_field,
)


def is_for_now(error: ServiceError) -> bool:
    """Whether what was asked is only away or full: it is there, and may serve again soon."""
    return isinstance(error, UnavailableError) or error.reason is Reason.OVERLOADED


def no_collection(name: str) -> NotFoundError:
    """The tenant has no such collection."""
    return NotFoundError(
        Reason.COLLECTION_NOT_FOUND,
        f"there is no collection {name!r}; create it first",
        metadata={"collection": name},
    )


def collection_exists(name: str) -> AlreadyExistsError:
    """The tenant has a collection of this name."""
    return AlreadyExistsError(
        Reason.COLLECTION_EXISTS,
        f"there is a collection {name!r} already; choose another name, or delete it first",
        metadata={"collection": name},
    )


def no_document(collection: str, document_id: str) -> NotFoundError:
    """The collection has no such document."""
    return NotFoundError(
        Reason.DOCUMENT_NOT_FOUND,
        f"there is no document {document_id!r} in the collection {collection!r}",
        metadata={"collection": collection, "document_id": document_id},
    )


def write_conflict(collection: str) -> AbortedError:
    """Another write to the same document won, or this one has not shown a sign of life for too long."""
    return AbortedError(
        Reason.WRITE_CONFLICT,
        "another write to the same document won, or this one took too long; nothing was changed, try again",
        metadata={"collection": collection},
    )


def request_id_reused(request_id: str) -> InvalidArgumentError:
    """The id stood for another request."""
    return InvalidArgumentError(
        Reason.REQUEST_ID_REUSED,
        "request_id: it was used for another request in the last 24 hours; send a fresh UUID",
        metadata={"request_id": request_id},
    )


def too_many_collections(limit: int) -> ResourceExhaustedError:
    """The tenant may have no more."""
    return ResourceExhaustedError(
        Reason.QUOTA_EXCEEDED,
        f"the tenant has as many collections as it may ({limit}); delete one first",
        metadata={"limit": str(limit)},
    )


def too_many_documents(limit: int) -> ResourceExhaustedError:
    """The collection may have no more."""
    return ResourceExhaustedError(
        Reason.QUOTA_EXCEEDED,
        f"the collection has as many documents as it may ({limit}); delete some first, or use another collection",
        metadata={"limit": str(limit)},
    )


def too_many_passages(count: int, limit: int) -> InvalidArgumentError:
    """A document must not be cut into so many passages."""
    return invalid_field("content", f"has {count} passages, more than {limit}; divide it into several documents")


def unreadable(media_type: str, why: str) -> InvalidArgumentError:
    """The content cannot be read as what it is said to be."""
    return InvalidArgumentError(
        Reason.DOCUMENT_UNREADABLE,
        f"content: {why}",
        metadata={"media_type": media_type},
    )
