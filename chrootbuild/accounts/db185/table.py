"""In-memory Berkeley DB 1.85 hash table: linear hashing, page splits, overflow pages.

Follows the C library step by step, the search for free overflow pages
included, since each step decides page numbers.
"""

from __future__ import annotations

from chrootbuild.accounts.db185.format import (
    FULL_KEY,
    FULL_KEY_DATA,
    HEADER,
    NUMBER_MASK,
    PARTIAL_KEY,
    SPLIT_SHIFT,
    SPLITS,
    log2,
)

FIND_OUT = 65536  # ffactor 0: set when the first page overflows
_MIN_FFACTOR = 4

Pair = tuple[bytes, bytes, int, int]  # key, data, hash, bytes it takes on a page


class FullError(Exception):
    """A split point has no overflow address left."""


class Page:
    """A page before it is written; its link follows from its place in the chain."""

    __slots__ = ("address", "big", "blank", "free", "pairs")

    def __init__(self, free: int, address: int = 0, *, blank: bool = False) -> None:
        self.free = free  # bytes left, slots included
        self.address = address  # of an overflow page
        self.blank = blank  # never written to: a hole in the file
        self.pairs: list[Pair] = []
        self.big: Part | None = None


class Part:
    """One page's share of a large pair."""

    __slots__ = ("data", "hashed", "key", "mark")

    def __init__(self, hashed: int, mark: int, key: bytes, data: bytes) -> None:
        self.hashed, self.mark, self.key, self.data = hashed, mark, key, data

    @property
    def wants_next(self) -> bool:
        """Return whether a page must follow: all but the last page of the data."""
        return self.mark != FULL_KEY_DATA or bool(self.key)


class Table:
    """Chains of pages by bucket, and the overflow pages in use."""

    def __init__(self, bsize: int, ffactor: int, nelem: int, lorder: int) -> None:
        self.bsize, self.ffactor, self.lorder = bsize, ffactor, lorder
        self.header_pages = (max(HEADER.size, 512) - 1) // bsize + 1
        self.empty = bsize - 6
        split = log2(max((nelem - 1) // ffactor + 1, 2))
        if split >= SPLITS - 1:
            raise FullError
        self.low_mask = (1 << split) - 1
        self.high_mask = (2 << split) - 1
        self.chains = [[Page(self.empty, blank=True)] for _ in range(1 << split)]
        self.nkeys = 0
        self.spares = [0] * SPLITS
        self.spares[split] = self.spares[split + 1] = split + 1
        self.ovfl_point = split
        self.last_freed = 2
        self.bitmaps = [0] * SPLITS
        self.bitmaps[0] = split << SPLIT_SHIFT | 1
        self.used = bytearray([1]) + bytearray(split)  # one byte per bitmap bit

    # -- insertion -----------------------------------------------------------------------------

    def put_all(self, rows: list[Pair]) -> None:
        """Insert pairs with distinct keys, in this order; raises FullError."""
        chains, largest = self.chains, self.bsize - 10
        for row in rows:
            bucket = row[2] & self.high_mask
            if bucket >= len(chains):
                bucket &= self.low_mask
            chain = chains[bucket]
            page = chain[-1]
            size = row[3]
            grown = size + 4 > page.free
            if not grown:
                page.free -= size
                page.pairs.append(row)
            elif size <= largest:
                self._put_behind(chain, row)
            else:
                self._put_big(chain, row)
            self.nkeys += 1
            if grown or self.nkeys // len(chains) > self.ffactor:
                self._expand()

    def _put_behind(self, chain: list[Page], row: Pair) -> None:
        page = self._link(chain)
        page.free -= row[3]
        page.pairs.append(row)

    def _link(self, chain: list[Page]) -> Page:
        """Append a new overflow page to a chain."""
        if self.ffactor == FIND_OUT:
            self.ffactor = max(len(chain[-1].pairs), _MIN_FFACTOR)
        page = Page(self.empty, self._allocate())
        _join(chain, page)
        return page

    def _put_big(self, chain: list[Page], row: Pair) -> None:
        """Put a large pair on pages of its own: the key, then the data.

        A reader takes a full page where the key ends for "more data follows", so
        data that would fill it exactly goes to the next page.
        """
        key, data, hashed, _ = row
        most = self.bsize - 14
        parts = [Part(hashed, PARTIAL_KEY, key[at : at + most], b"") for at in range(0, len(key), most)]
        last = parts[-1]
        room = most - len(last.key)
        if room in (0, len(data)):
            last.mark, start = FULL_KEY, 0
        else:
            last.mark, last.data, start = FULL_KEY_DATA, data[:room], room
        take = most - 1 if start == 0 and len(data) == most else most
        # After FULL_KEY a page must mark the end of the data, even of empty data.
        for at in range(start, max(len(data), 1) if last.mark == FULL_KEY else len(data), take):
            mark = FULL_KEY if at + take < len(data) else FULL_KEY_DATA
            parts.append(Part(hashed, mark, b"", data[at : at + take]))
        for each in parts:
            page = self._link(chain)
            page.big, page.free = each, 0
        if parts[-1].wants_next:
            self._link(chain)

    def _expand(self) -> None:
        """Split one bucket in two, as linear hashing does."""
        chains = self.chains
        new = len(chains)
        old = new & self.low_mask
        split = log2(new + 1)
        if split > self.ovfl_point:
            if split >= SPLITS:
                raise FullError
            self.spares[split] = self.spares[self.ovfl_point]
            self.ovfl_point = split
        if new > self.high_mask:
            self.low_mask = self.high_mask
            self.high_mask = new | self.low_mask
        source = chains[old]
        kept, moved = [source[0]], [Page(self.empty)]
        chains[old] = kept
        chains.append(moved)
        self._deal_first(source[0], moved[0], new)
        worked_on: Page | None = None
        for page in source[1:]:
            if page.big is not None:
                _join(moved if page.big.hashed & self.high_mask == new else kept, page)
                continue
            # Freed only now, as in the library: later addresses depend on it.
            if worked_on is not None:
                self._free(worked_on.address)
            worked_on = page
            self._deal(page, kept, moved, new)
        if worked_on is not None:
            self._free(worked_on.address)
        for chain in (kept, moved):
            big = chain[-1].big
            if big is not None and big.wants_next:
                self._link(chain)

    def _deal_first(self, page: Page, other: Page, new: int) -> None:
        """Split the pairs of a bucket's primary page."""
        mask = self.high_mask
        other.pairs = [row for row in page.pairs if row[2] & mask == new]
        page.pairs = [row for row in page.pairs if row[2] & mask != new]
        for each in (page, other):
            each.blank = False
            each.free = self.empty - sum([row[3] for row in each.pairs])

    def _deal(self, page: Page, kept: list[Page], moved: list[Page], new: int) -> None:
        """Append the pairs of an overflow page to the two chains of the split bucket."""
        mask = self.high_mask
        for row in page.pairs:
            chain = moved if row[2] & mask == new else kept
            last = chain[-1]
            if row[3] + 4 <= last.free:
                last.free -= row[3]
                last.pairs.append(row)
            else:
                self._put_behind(chain, row)

    # -- overflow pages ------------------------------------------------------------------------

    def _allocate(self) -> int:
        """Return the address of a free overflow page, and mark it used."""
        spares, point = self.spares, self.ovfl_point
        bit = self.used.find(0, self.last_freed & ~31, spares[point])
        if bit >= 0:
            self.used[bit] = 1
            if bit + 1 >= self.last_freed:
                self.last_freed = bit
            return self._address(bit + 1)
        full_bitmap = spares[point] % (self.bsize * 8) == 0
        self.last_freed = spares[point]
        number = self._append()
        if full_bitmap:  # the new page becomes the next bitmap, the one behind it is ours
            index = (len(self.used) - 1) // (self.bsize * 8)
            if index >= SPLITS:
                raise FullError
            self.bitmaps[index] = self.ovfl_point << SPLIT_SHIFT | number
            number = self._append()
        return self.ovfl_point << SPLIT_SHIFT | number

    def _append(self) -> int:
        """Append an overflow page to the current split point; return its number."""
        spares = self.spares
        spares[self.ovfl_point] += 1
        number = spares[self.ovfl_point] - (spares[self.ovfl_point - 1] if self.ovfl_point else 0)
        if number > NUMBER_MASK:
            self.ovfl_point += 1
            if self.ovfl_point >= SPLITS:
                raise FullError
            spares[self.ovfl_point] = spares[self.ovfl_point - 1]
            spares[self.ovfl_point - 1] -= 1
            number = 1
        self.used.append(1)
        return number

    def _address(self, count: int) -> int:
        """Return the overflow address of the file's overflow page ``count``, from 1."""
        split = 0
        while split < self.ovfl_point and count > self.spares[split]:
            split += 1
        number = count - (self.spares[split - 1] if split else 0)
        if number >= NUMBER_MASK:
            raise FullError
        return split << SPLIT_SHIFT | number

    def _free(self, address: int) -> None:
        split = address >> SPLIT_SHIFT
        bit = (self.spares[split - 1] if split else 0) + (address & NUMBER_MASK) - 1
        self.used[bit] = 0
        self.last_freed = min(self.last_freed, bit)


def _join(chain: list[Page], page: Page) -> None:
    """Append a page to a chain, reserving four bytes of the page before it for the link."""
    chain[-1].free -= 4
    chain.append(page)
