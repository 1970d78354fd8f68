"""What help desks call the columns of a ticket in languages other than English.

Output contract: `TERMS` gives the names of each role, folded as `layout.simple` folds a header, German first. Exports
translate their headers by hand and release by release, so that each role has all names that are known, of any product.
"""

from __future__ import annotations

import re

_TERMS = {
    "id": """
        Ticketnummer, Ticket-Nr, Vorgangsnummer, Fallnummer, Nummer, Nr, Ticketkennung;
        ID du ticket, Numéro, Numéro de ticket;
        ID del ticket, Número de ticket;
        ID ticket, Numero ticket;
        Ticketnummer;
        ID do ticket, Número do ticket;
        Identyfikator, Numer zgłoszenia
    """,
    "subject": """
        Betreff, Ticketbetreff, Betreff des Tickets, Titel;
        Objet, Sujet, Objet du ticket;
        Asunto;
        Oggetto;
        Onderwerp;
        Assunto;
        Temat
    """,
    "description": """
        Beschreibung, Ticketbeschreibung, Beschreibung des Tickets, Beschreibungstext, Erster Kommentar, Erster
        öffentlicher Kommentar, Anfrage, Nachricht;
        Description du ticket, Premier commentaire, Demande;
        Descripción, Primer comentario;
        Descrizione, Primo commento;
        Beschrijving, Omschrijving;
        Descrição, Primeiro comentário;
        Opis
    """,
    "answer": """
        Letzter öffentlicher Kommentar, Neuester öffentlicher Kommentar, Letzter Kommentar des Agenten, Letzter
        Kommentar, Antwort des Agenten, Agentenantwort, Agent Antwort, Letzte Antwort des Agenten, Letzte
        öffentliche Antwort, Öffentliche Antwort, Letzte Antwort, Antwort, Lösungshinweis, Lösungshinweise,
        Lösungsnotiz, Lösungsbeschreibung, Lösungstext, Lösung;
        Dernier commentaire public, Réponse de l'agent, Réponse publique, Réponse, Résolution;
        Último comentario público, Respuesta del agente, Respuesta, Resolución, Solución;
        Ultimo commento pubblico, Risposta dell'agente, Risposta, Risoluzione, Soluzione;
        Laatste openbare opmerking, Antwoord van agent, Antwoord, Oplossing;
        Último comentário público, Resposta do agente, Resposta, Resolução, Solução;
        Ostatni komentarz publiczny, Odpowiedź agenta, Odpowiedź, Rozwiązanie
    """,
    "label": """
        Thema, Kategorie, Kontaktgrund, Anfragetyp, Tickettyp, Typ;
        Thème, Catégorie, Type de ticket;
        Tema, Categoría, Tipo de ticket, Tipo;
        Argomento, Categoria;
        Categorie, Tickettype;
        Categoria, Tipo;
        Kategoria, Typ
    """,
    "status": """
        Ticketstatus, Zustand;
        Statut, État;
        Estado;
        Stato;
        Estado;
        Stan
    """,
    "created": """
        Erstellt am, Erstellt, Erstellungsdatum, Erstellungszeit, Erstellungszeitpunkt, Ticket erstellt,
        Angefordert, Eingangsdatum;
        Créé le, Date de création, Heure de création;
        Creado, Fecha de creación, Hora de creación;
        Creato, Data di creazione, Ora di creazione;
        Gemaakt op, Gemaakt, Aanmaakdatum, Aangemaakt;
        Criado em, Data de criação;
        Utworzono, Data utworzenia
    """,
    "names": """
        Anfragender, Anfragesteller, Anforderer, Antragsteller, Name des Anfragenden, Name des Anfragestellers,
        Einreicher, Zugewiesener Mitarbeiter, Zuständiger Mitarbeiter, Mitarbeiter, Bearbeiter, Zugewiesen an,
        Name des Agenten, Agent, Vollständiger Name, Kontaktname, Name des Kontakts, Kunde, Kundenname;
        Demandeur, Nom du demandeur, Assigné, Assigné à, Nom complet, Nom du contact;
        Solicitante, Agente, Asignado a, Nombre completo;
        Richiedente, Assegnatario, Nome completo;
        Aanvrager, Toegewezen aan, Volledige naam;
        Atribuído, Atribuído a;
        Zgłaszający, Przypisany, Imię i nazwisko
    """,
    "emails": """
        E-Mail, E-Mail-Adresse, E-Mail des Anfragenden, E-Mail des Anfragestellers, E-Mail-Adresse des
        Anfragenden, Email-Adresse, Mailadresse, Kontakt-E-Mail;
        Adresse e-mail, E-mail du demandeur, Courriel;
        Correo electrónico, Correo electrónico del solicitante;
        Indirizzo e-mail;
        E-mailadres;
        E-mail do solicitante;
        Adres e-mail
    """,
    "phones": """
        Telefon, Telefonnummer, Telefon geschäftlich, Geschäftstelefon, Telefon des Anfragenden, Mobiltelefon,
        Mobilnummer, Handy, Handynummer;
        Téléphone, Téléphone professionnel, Portable;
        Teléfono, Móvil;
        Telefono, Cellulare;
        Telefoon, Mobiel;
        Telefone, Celular;
        Numer telefonu
    """,
}  # languages: German; French; Spanish; Italian; Dutch; Portuguese; Polish
TERMS = {
    role: tuple(dict.fromkeys(" ".join(re.findall(r"\w+", name.casefold())) for name in re.split("[,;]", names)))
    for role, names in _TERMS.items()
}
_RESOLVED = """
    solved closed resolved; gelöst geschlossen erledigt abgeschlossen beendet; résolu fermé clos clôturé;
    resuelto cerrado solucionado; risolto chiuso; opgelost gesloten; resolvido fechado; rozwiązane zamknięte
"""
RESOLVED = frozenset(re.findall(r"\w+", _RESOLVED))  # words for a ticket's status
