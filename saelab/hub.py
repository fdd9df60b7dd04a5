"""Whether a data set of the hub can be had, asked before anything is made that it would be needed for."""

from __future__ import annotations

from .errors import CannotPrepare

_SECONDS = 20.0
"""For one question: a hub that does not answer is asked for minutes by the libraries that load from it."""


def data_set_bytes(dataset: str) -> int:
    """The size of a data set's files on the hub; `dataset` is a name, with a configuration after a colon. Raises
    CannotPrepare where it may not be had, or is read by code of its authors, which is not executed here."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        GatedRepoError,
        HTTPError,  # of the library that this version speaks to the network with
        RepositoryNotFoundError,
    )

    name = dataset.partition(":")[0]
    page = f"{constants.ENDPOINT}/datasets/{name}"
    try:
        huggingface_hub.auth_check(name, repo_type="dataset")
        found = huggingface_hub.HfApi().dataset_info(name, files_metadata=True, timeout=_SECONDS)
    except GatedRepoError as error:
        raise CannotPrepare(f"it is gated: accept its terms at {page}, then `hf auth login`, or set HF_TOKEN.") from error
    except RepositoryNotFoundError as error:
        raise CannotPrepare("the hub has no data set of this name. If it is private: `hf auth login`.") from error
    except (HTTPError, OSError) as error:
        todo = "Check the network and HF_HUB_OFFLINE."
        raise CannotPrepare(f"the hub does not answer ({type(error).__name__}). {todo}") from error
    files = found.siblings or []
    if f"{name.rpartition('/')[2]}.py" in {file.rfilename for file in files}:
        raise CannotPrepare("it is read by code of its authors, which is not executed here.")
    return sum(file.size or 0 for file in files)
