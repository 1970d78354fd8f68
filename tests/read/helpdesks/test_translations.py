"""Ticket exports with headers in other languages than English."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Read
from pipeline.errors import InputError
from pipeline.read import discover
from pipeline.read.helpdesks.layout import simple
from pipeline.read.helpdesks.translations import TERMS

TABLES = {
    "Zendesk, German": (
        "ID;Anfragender;E-Mail des Anfragenden;Zugewiesener Mitarbeiter;Betreff;Status;Erstellt am;Beschreibung;"
        "Letzter öffentlicher Kommentar"
    ),
    "Freshdesk, German": (
        "Ticket-ID;Vollständiger Name;E-Mail;Agent;Betreff;Status;Erstellungszeit;Beschreibung;Antwort des Agenten"
    ),
    "French": (
        "ID du ticket;Demandeur;Adresse e-mail;Assigné à;Objet;Statut;Date de création;Description;"
        "Dernier commentaire public"
    ),
    "Spanish": (
        "ID del ticket;Solicitante;Correo electrónico;Agente;Asunto;Estado;Fecha de creación;Descripción;"
        "Respuesta del agente"
    ),
    "Italian": "ID ticket;Richiedente;Indirizzo e-mail;Agente;Oggetto;Stato;Data di creazione;Descrizione;Risposta",
    "Dutch": "Ticketnummer;Aanvrager;E-mailadres;Toegewezen aan;Onderwerp;Status;Gemaakt op;Beschrijving;Antwoord",
    "Polish": "Identyfikator;Zgłaszający;Adres e-mail;Przypisany;Temat;Status;Data utworzenia;Opis;Odpowiedź",
}
DONE = {"French": "Résolu", "Spanish": "Cerrado", "Italian": "Risolto", "Dutch": "Opgelost", "Polish": "Zamknięte"}


@pytest.mark.parametrize("name", TABLES)
def test_headers_in_other_languages(tmp_path: Path, read_rows: Any, name: str) -> None:
    row = f"7;Anna Schmidt;anna@example.org;Ben Roth;S;{DONE.get(name, 'Gelöst')};2026-01-02;D;A"
    (tmp_path / "t.csv").write_text(f"{TABLES[name]}\n{row}\n", encoding="utf-8")
    (found,) = read_rows(tmp_path)
    assert (found["source_id"], found["prompt"], found["response"]) == ("7", "S\n\nD", "A")
    assert found["resolved"] is True
    assert found["created_at"].date().isoformat() == "2026-01-02"
    assert {entity["text"] for entity in found["entities"]} == {"Anna Schmidt", "anna@example.org", "Ben Roth"}


def test_a_table_of_questions_alone_is_not_taken_for_tickets(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Nummer;Beschreibung;Antwort\n1;a;b\n")
    with pytest.raises(InputError, match="no help desk's export that is known"):
        discover([str(tmp_path)], Read())


def test_an_export_without_answers_says_which_columns_hold_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Id,Requester,Assignee,Betreff,Status\n1,A,B,S,Open\n")
    with pytest.raises(InputError, match=r"without a column for the answer .*and those of other languages"):
        discover([str(tmp_path)], Read())


def test_every_term_is_folded_as_a_header_is() -> None:
    assert all(name == simple(name) for names in TERMS.values() for name in names)
