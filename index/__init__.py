"""Pictures -> vectors -> neighbours: the package everything else leans on. No torch, no web framework."""
