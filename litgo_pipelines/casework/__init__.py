"""A case on its way: matching, offers, the match history of the old backend. Decides with `equity` and `ranking`, writes facts."""
