"""A contract of import-linter: private modules are for their own folder."""

from __future__ import annotations

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class PrivateModulesContract(Contract):
    """No module whose name begins with an underscore is imported from elsewhere.

    ``package._module`` may be imported by ``package`` and by what lies in it.

    Attributes
    ----------
    allowed : set of str
        Private modules of the top level that every folder may import.
    """

    type_name = "private_modules"

    allowed = fields.SetField(subfield=fields.StringField(), required=False)

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Look for imports that reach into another folder.

        Parameters
        ----------
        graph : ImportGraph
            All imports.
        verbose : bool
            Ignored.

        Returns
        -------
        check : ContractCheck
            The importers and what they import.
        """
        found = []
        for module in sorted(graph.modules):
            folder, _, name = module.rpartition(".")
            if not folder or not name.startswith("_") or module in (self.allowed or ()):
                continue
            found += [
                (importer, module)
                for importer in sorted(graph.find_modules_that_directly_import(module))
                if importer != folder and not importer.startswith(f"{folder}.")
            ]
        return ContractCheck(kept=not found, metadata={"found": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Name the imports.

        Parameters
        ----------
        check : ContractCheck
            What `check` gave.
        """
        for importer, module in check.metadata["found"]:
            output.print_error(f"{importer} imports {module}, which is private.")
