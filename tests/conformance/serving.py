"""`hawksnest serve` as a process of its own, with accounts that tests have for themselves."""

import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from customer import Customer, iso

from hawksnest.catalog import AccessKey
from hawksnest.store.data_folder import open_catalog
from hawksnest.wire.keys import create_key
from hawksnest.world import RealWorld, seeded

COMMAND = (sys.executable, "-m", "hawksnest", "serve", "--port", "0", "--data")
ACCOUNTS_AT_ONCE = 400


class Served:
    """The process, on a free port and a data folder of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.data = folder / "data"
        self._stderr = folder / "stderr"
        self._keys: dict[str, AccessKey] = {}
        self._unused: list[str] = []
        self._customers: list[Customer] = []
        self._open_accounts()
        bucket = self.data / "buckets" / "b"
        bucket.mkdir(parents=True)
        training_rows(bucket / "train.csv")
        training_rows(bucket / "preview.csv", "at,is_fraud,mail,amt", ("1", "0"))
        with self._stderr.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*COMMAND, str(self.data), *options], stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said.startswith("Hawksnest serves http://"), self._stderr.read_text()
        self.url = said.split()[2]

    def _open_accounts(self) -> None:
        """A stock of new accounts, each with a key made as `hawksnest keys create` does."""
        world = RealWorld()
        with closing(open_catalog(self.data, world)) as catalog, catalog.transaction():
            for number in range(len(self._keys) + 1, len(self._keys) + 1 + ACCOUNTS_AT_ONCE):
                account = f"1{number:011d}"
                self._keys[account] = create_key(catalog, world, account)
                self._unused.append(account)

    def customer(self, account: str | None = None, region: str = "us-east-1") -> Customer:
        """A customer of the account; of a new one when none is named."""
        if account is None:
            if not self._unused:
                self._open_accounts()
                self._learned(self._unused[0])
            account = self._unused.pop()
        made = Customer(self.url, self._keys[account], region)
        self._customers.append(made)
        return made

    def _learned(self, account: str) -> None:
        """Wait until the running server knows the key."""
        customer = Customer(self.url, self._keys[account], "us-east-1")
        until = time.monotonic() + 10
        try:
            while True:
                try:
                    customer.c.get_labels()
                    return
                except customer.c.exceptions.ClientError as fault:
                    assert fault.response["Error"]["Code"] == "UnrecognizedClientException"
                    assert time.monotonic() < until, "the server never learned of new keys"
                    time.sleep(0.05)
        finally:
            customer.close()

    def close_customers(self) -> None:
        while self._customers:
            self._customers.pop().close()

    def stop(self) -> None:
        """End it as a person would; it has logged no fault of its own."""
        self.close_customers()
        self.process.terminate()
        try:
            assert self.process.wait(20) == 0, self._stderr.read_text()
        finally:
            self.process.kill()
            self.process.communicate()
        said = self._stderr.read_text()
        assert "Traceback" not in said, said


def training_rows(
    path: Path,
    header: str = "EVENT_TIMESTAMP,EVENT_LABEL,email,amt",
    labels: tuple[str, str] = ("fraud", "legit"),
) -> None:
    """400 labelled events: dear ones at one provider are fraud."""
    random = seeded(11)
    lines = [header]
    for number in range(400):
        fraud = random.random() < 0.3
        amount = round(random.uniform(500, 1_500) if fraud else random.uniform(1, 700), 2)
        domain = "free.example" if fraud and random.random() < 0.8 else "home.example"
        at = iso(datetime(2021, 5, 1, tzinfo=UTC) + timedelta(hours=number))
        lines.append(f"{at},{labels[not fraud]},u{number}@{domain},{amount}")
    path.write_text("\n".join(lines) + "\n")
